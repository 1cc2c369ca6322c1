"""Checkpoints as the published programs write them: the golden ones, and others made from random parameters.

The order of the PyTorch modules is written down here a second time, from how the published networks are built, so that
a test of our own map does not depend on that map.
"""

import functools
import json

import numpy as np

from configs import default
from interop import base
from interop.names.order import outline
from models.blocks.conditioning import Embedding
from models.networks.ddpm import DDPM
from models.networks.ncsnpp import NCSNpp
from tests.support.paths import GOLDEN
from tests.support.torch_files import Tensor

CHECKPOINTS = GOLDEN / "checkpoints"
FILES = {
    "jax_ncsnpp_ve_cont": "checkpoint_5",
    "jax_ddpmpp_vp_cont": "checkpoint_12",
    "torch_ncsnpp_ve_cont": "checkpoint_5.pth",
    "torch_ddpmpp_vp_cont": "checkpoint_12.pth",
    "torch_ncsnpp_ve_cont_skip": "checkpoint_3.pth",
}
PAIR = ("jax_ncsnpp_ve_cont", "torch_ncsnpp_ve_cont")  # both formats, of the same network

COMMON = {"nf": 8, "ch_mult": (1, 2, 3), "num_res_blocks": 1, "attn_resolutions": (8,)}
NETWORKS = {
    f"{block}-{into}-{out}-{combine}": NCSNpp(
        **COMMON, resblock_type=block, progressive_input=into, progressive=out, fir=block == "biggan",
        embedding=Embedding("fourier" if out == "none" else "positional"), scale_by_sigma=out == "none",
        progressive_combine=combine,
    )
    for block in ("biggan", "ddpm")
    for into in ("none", "input_skip", "residual")
    for out in ("none", "output_skip", "residual")
    for combine in (("sum", "cat") if into == "input_skip" else ("sum",))
}  # fmt: skip
NETWORKS["deeper"] = NCSNpp(**{**COMMON, "num_res_blocks": 3, "attn_resolutions": (16, 4)}, scale_by_sigma=False)
NETWORKS["ddpm-blocks-without-conv"] = NCSNpp(
    **COMMON, resblock_type="ddpm", resamp_with_conv=False, progressive_input="input_skip", progressive="output_skip"
)
NETWORKS["small"] = NCSNpp(**{**COMMON, "ch_mult": (1, 2)})
NETWORKS["smallest"] = NCSNpp(**{**COMMON, "ch_mult": (1,), "attn_resolutions": ()})
NETWORKS["ddpm"] = DDPM(**COMMON)
NETWORKS["ddpm-without-conv"] = DDPM(**COMMON, resamp_with_conv=False)


def golden_file(name):
    """The path of a golden checkpoint."""
    return CHECKPOINTS / name / FILES[name]


def config_of(name):
    """The config of a golden checkpoint."""
    published = json.loads((GOLDEN / "index.json").read_text())["files"][f"checkpoints/{name}_expected.npz"]["config"]
    config = default.get_config()
    for section in ("training", "data", "model", "optim"):
        known = {key: value for key, value in published[section].items() if key in config[section]}
        config[section].update({key: tuple(v) if isinstance(v, list) else v for key, v in known.items()})
    return config


def outline_of(network, size=16, channels=3):
    """(shapes of the parameters, order of the modules) of a network of images."""
    return outline(network, np.zeros((1, size, size, channels), np.float32), np.ones((1,), np.float32))


@functools.cache
def outline_of_kind(kind):
    """`outline_of` one of NETWORKS, traced once."""
    return outline_of(NETWORKS[kind])


def published_order(network, size=16):
    """Our names of the modules that a published network (NCSNpp or DDPM) lists, in the order of its construction.

    One resampler without parameters serves every level of a skip pyramid and is outside the list; ours is numbered
    at each level all the same, as in the published JAX networks.
    """
    m, plus = network, isinstance(network, NCSNpp)
    block = (
        {"biggan": "ResnetBlockBigGANpp", "ddpm": "ResnetBlockDDPMpp"}[m.resblock_type] if plus else "ResnetBlockDDPM"
    )
    attention = "AttnBlockpp" if plus else "AttnBlock"
    big = plus and m.resblock_type == "biggan"
    pyramid_in, pyramid_out = (m.progressive_input, m.progressive) if plus else ("none", "none")
    heights = [size // 2**level for level in range(len(m.ch_mult))]
    kinds = ["GaussianFourierProjection"] if plus and m.embedding.takes_sigma else []
    kinds += ["Dense", "Dense", "Conv"]
    for height in heights:
        kinds += m.num_res_blocks * ([block] + [attention] * (height in m.attn_resolutions))
        if height != heights[-1]:
            kinds += [block if big else "Downsample"]
            kinds += {"none": [], "input_skip": ["-Downsample", "Combine"], "residual": ["Downsample"]}[pyramid_in]
    kinds += [block, attention, block]
    for height in reversed(heights):
        kinds += (m.num_res_blocks + 1) * [block] + [attention] * (height in m.attn_resolutions)
        if pyramid_out != "none" and height == heights[-1]:
            kinds += ["GroupNorm", "Conv"]
        else:
            kinds += {"none": [], "output_skip": ["-Upsample", "GroupNorm", "Conv"], "residual": ["Upsample"]}[
                pyramid_out
            ]
        if height != heights[0]:
            kinds += [block if big else "Upsample"]
    kinds += [] if pyramid_out == "output_skip" else ["GroupNorm", "Conv"]
    numbers, order = {}, []
    for kind in kinds:
        name = kind.removeprefix("-")
        numbers[name] = numbers.get(name, -1) + 1
        order += [f"{name}_{numbers[name]}"] if name == kind else []
    return order


def published_name(name, order):
    """The PyTorch name of one of our parameters; every leaf but two, and every inner module, has the same name."""
    module, *inner, leaf = name.split("/")
    leaf = "weight" if leaf in ("kernel", "scale") else leaf
    return ".".join(["all_modules", str(order.index(module)), *inner, leaf])


def published_layout(name, value):
    """A tensor as PyTorch keeps it, by the rule of the golden numbers' description."""
    leaf = name.rsplit("/", 1)[-1]
    if value.ndim == 4:
        return np.moveaxis(value, (3, 2, 0, 1), (0, 1, 2, 3))
    return value.T if leaf == "kernel" else value


def pytorch_contents(parts, order, *, steps, adam=True, prefix="module."):
    """What a .pth holds; `parts`: "params", "ema", "mu" and "nu" in our names; `order`: the published one."""
    theirs = {name: published_name(name, order) for name in parts["params"]}
    names = sorted(theirs, key=lambda n: (int(theirs[n].split(".")[1]), theirs[n][::-1]))  # not our order
    trained = [n for n in names if not n.startswith("GaussianFourier")]

    def tensor(part, n):
        return Tensor(np.ascontiguousarray(published_layout(n, parts[part][n])))

    states = {
        k: {"step": Tensor(np.float32(steps)), "exp_avg": tensor("mu", n), "exp_avg_sq": tensor("nu", n)}
        for k, n in enumerate(names)
        if n in trained
    }
    group = {"lr": np.float64(2e-4), "betas": (0.9, 0.999), "eps": 1e-8, "params": list(range(len(names)))}
    buffer = {f"{prefix}sigmas": Tensor(np.linspace(1, 2, 10))}
    return {
        "optimizer": {"state": states if adam else {}, "param_groups": [group]},
        "model": buffer | {prefix + theirs[n]: tensor("params", n) for n in names},
        "ema": {"decay": 0.999, "num_updates": steps, "shadow_params": [tensor("ema", n) for n in trained]},
        "step": steps,
    }


def checkpoint(kind, **options):
    """(shapes, order, parts in our names, contents of a .pth at step 7) of one of NETWORKS with random parameters.

    The shapes and the order are those that the import works with; the file is in the published order.
    """
    shapes, order = outline_of_kind(kind)
    rng = np.random.default_rng(0)
    wanted = base.flatten(shapes).items()
    parts = {p: {n: rng.random(a.shape, np.float32) for n, a in wanted} for p in ("params", "ema", "mu", "nu")}
    for n in parts["params"]:
        if n.startswith("GaussianFourier"):
            parts["ema"][n], parts["mu"][n], parts["nu"][n] = parts["params"][n], *2 * [np.zeros_like(parts["mu"][n])]
    return shapes, order, parts, pytorch_contents(parts, published_order(NETWORKS[kind]), steps=7, **options)
