"""NCSN++ on CIFAR-10 with DDPM's 1000 noise levels.

    python main.py --config=configs/vp/cifar10_ncsnpp.py --workdir=DIR --mode=train

Tables 2 and 3 of the paper give no number for this combination.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.vp(config)
    presets.ncsnpp(config)
    presets.discrete(config)
    config.sampling.predictor = "reverse_diffusion"
    return config
