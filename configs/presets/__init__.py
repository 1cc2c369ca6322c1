"""Groups of settings that experiments share: data sets, processes, networks, and sizes of runs.

A preset changes a config in place. A later preset overrides an earlier one, so their order matters where they overlap.
"""

from configs.presets.datasets import (
    celeba,
    celebahq,
    cifar10,
    digits,
    ffhq,
    lsun,
    photos,
    pictures,
    series,
    smoke,
    vectors,
    volumes,
)
from configs.presets.networks import (
    classifier,
    ddpm,
    ddpm_256,
    ddpmpp,
    deep,
    mlp,
    ncsn,
    ncsnpp,
    ncsnpp_256,
    ncsnpp_1024,
    ncsnv2,
    technique_5,
    technique_124,
    tokenizer,
)
from configs.presets.processes import discrete, edm, subvp, ve, vp
from configs.presets.sizes import large_images, minutes, small_images

__all__ = [
    "celeba",
    "celebahq",
    "cifar10",
    "classifier",
    "ddpm",
    "ddpm_256",
    "ddpmpp",
    "deep",
    "digits",
    "discrete",
    "edm",
    "ffhq",
    "large_images",
    "lsun",
    "minutes",
    "mlp",
    "ncsn",
    "ncsnpp",
    "ncsnpp_256",
    "ncsnpp_1024",
    "ncsnv2",
    "photos",
    "pictures",
    "series",
    "small_images",
    "smoke",
    "subvp",
    "technique_5",
    "technique_124",
    "tokenizer",
    "ve",
    "vectors",
    "volumes",
    "vp",
]
