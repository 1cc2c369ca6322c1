"""The part of the composition root that makes networks; only `build` uses it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from core.tables import choose
from data.shapes import check_halvings, check_images, data_shape
from models.blocks.layers import ACTIVATIONS
from models.classifier import WideResnet
from models.networks import ncsnpp, ncsnv2
from models.networks.ddpm import DDPM
from models.networks.mlp import MLP
from models.networks.ncsn import NCSN
from models.networks.ncsnpp import NCSNpp
from models.networks.ncsnv2 import NCSNv2
from sde.base import SDE
from sde.chain import DiscreteChain


def select(config: ConfigDict, process: SDE, dtype: str | None = None) -> nn.Module:
    """The network `(x, time, cond=None, train=False) -> output`; `process`: the SDE or chain of the experiment.

    `dtype`: what it computes in, by default `model.dtype`; its parameters are float32 all the same.
    """
    make = choose("model.name", config.model.name, NETWORKS)
    if config.model.num_labels and config.model.name not in KNOW_CLASSES:
        raise ValueError(
            f"config.model.num_labels = {config.model.num_labels}, but the network {config.model.name!r} cannot be "
            f"told a class; use {' or '.join(KNOW_CLASSES)}, or num_labels = 0."
        )
    if config.model.augment_dim and config.model.name not in KNOW_AUGMENTATION:
        raise ValueError(
            f"config.model.augment_dim = {config.model.augment_dim}, but the network {config.model.name!r} cannot be "
            f"told an augmentation; use {' or '.join(KNOW_AUGMENTATION)}, or augment_dim = 0."
        )
    if config.model.name not in ANY_RANK:
        check_images(data_shape(config), f"config.model.name = {config.model.name!r}", "use ncsnpp, ddpm or mlp")
    if config.model.remat and config.model.name not in HAVE_BLOCKS:
        raise ValueError(
            f"config.model.remat = True computes residual blocks again, which the network {config.model.name!r} does "
            "not have; set it to False."
        )
    made, asked = make(config, process), choose("model.dtype", dtype or config.model.dtype, DTYPES)
    if hasattr(made, "dtype"):
        return made.copy(dtype=asked)
    if asked != DTYPES["float32"]:
        raise ValueError(
            f"config.model.dtype = {dtype or config.model.dtype!r}, but the network {config.model.name!r} has no field "
            "`dtype` and computes in float32; use float32, or give it one."
        )
    return made


def computes_in(module: nn.Module) -> Any:
    """The type in which a network computes: its field `dtype`, float32 where it has none."""
    return getattr(module, "dtype", jnp.float32)


def is_classifier(config: ConfigDict) -> bool:
    """Whether the network tells classes, instead of a score."""
    return config.model.name == "wideresnet"


def _ncsnpp(config: ConfigDict, process: SDE) -> NCSNpp:
    model = config.model
    for key, choices in ncsnpp.CHOICES.items():
        if key in model:
            choose(f"model.{key}", model[key], dict.fromkeys(choices))
    return NCSNpp(
        **_u_net(config, process, takes_sigma=model.embedding_type == "fourier"),
        fir=model.fir,
        fir_kernel=tuple(model.fir_kernel),
        skip_rescale=model.skip_rescale,
        resblock_type=model.resblock_type,
        progressive=model.progressive,
        progressive_input=model.progressive_input,
        progressive_combine=model.progressive_combine,
        **_told(config),
    )


def _mlp(config: ConfigDict, process: SDE) -> MLP:
    model, shape = config.model, data_shape(config)
    if len(shape) != 1:
        raise ValueError(
            f"config.model.name = 'mlp' is for vectors (D,), but examples have the shape {shape}; use ncsnpp or ddpm."
        )
    choose("model.embedding_type", model.embedding_type, dict.fromkeys(ncsnpp.CHOICES["embedding_type"]))
    return MLP(
        **_shared(config, process, normalization="GroupNorm", takes_sigma=model.embedding_type == "fourier"),
        **_told(config),
        num_res_blocks=model.num_res_blocks,
        dropout=model.dropout,
        conditional=model.conditional,
    )


def _told(config: ConfigDict) -> dict[str, Any]:
    """What the networks that know classes and augmentations have in common."""
    model = config.model
    return {
        "embedding_type": model.embedding_type,
        "init_scale": model.init_scale,
        "fourier_scale": model.fourier_scale,
        "num_classes": model.num_labels + 1 if model.num_labels else 0,  # the last one: no class
        "augment_dim": model.augment_dim,
    }


def _ddpm(config: ConfigDict, process: SDE) -> DDPM:
    return DDPM(**_u_net(config, process, takes_sigma=False))


def _ncsn(config: ConfigDict, process: SDE) -> NCSN:
    if not isinstance(process, DiscreteChain):
        raise ValueError(
            "config.model.name = 'ncsn' has normalisations of its own for each of model.num_scales noise levels; "
            "use config.training.continuous = False."
        )
    return NCSN(**_refinenet(config, process, size=64), num_classes=config.model.num_scales)


def _ncsnv2(size: int) -> Callable[[ConfigDict, SDE], NCSNv2]:
    """The variant made for `size` pixels."""
    return lambda config, process: NCSNv2(**_refinenet(config, process, size=size), size=size)


def _wideresnet(config: ConfigDict, process: SDE) -> WideResnet:
    model = config.model
    if not model.num_labels:
        raise ValueError(
            "config.model.name = 'wideresnet' tells the class of an image, but config.model.num_labels = 0; set it to "
            "the number of classes of the data set."
        )
    check_halvings(config, 2, "")
    return WideResnet(
        num_labels=model.num_labels,
        blocks_per_group=model.blocks_per_group,
        channel_multiplier=model.channel_multiplier,
        num_channels=data_shape(config)[-1],
        remat=model.remat,
    )


def _u_net(config: ConfigDict, process: SDE, *, takes_sigma: bool) -> dict[str, Any]:
    """What NCSN++ and DDPM have in common."""
    model, shape = config.model, data_shape(config)
    if len(shape) == 1:
        raise ValueError(
            f"config.model.name = {model.name!r} is for series, images and volumes, but examples are vectors of the "
            f"shape {shape}; use 'mlp', or config.data.shape = ({shape[0]}, 1) for data in an order."
        )
    check_halvings(config, len(model.ch_mult) - 1, " or fewer entries in config.model.ch_mult")
    return {
        **_shared(config, process, normalization="GroupNorm", takes_sigma=takes_sigma),
        "ch_mult": tuple(model.ch_mult),
        "num_res_blocks": model.num_res_blocks,
        "attn_resolutions": tuple(model.attn_resolutions),
        "dropout": model.dropout,
        "resamp_with_conv": model.resamp_with_conv,
        "conditional": model.conditional,
        "remat": model.remat,
    }


def _refinenet(config: ConfigDict, process: SDE, *, size: int) -> dict[str, Any]:
    """What NCSN and NCSNv2 have in common."""
    check_halvings(config, ncsnv2.VARIANTS[size].halvings, "")
    shared = _shared(config, process, normalization="InstanceNorm++", takes_sigma=True)
    return {**shared, "remat": config.model.remat}


def _shared(config: ConfigDict, process: SDE, *, normalization: str, takes_sigma: bool) -> dict[str, Any]:
    """What all networks have in common; `takes_sigma`: whether it can be told the noise level itself."""
    model = config.model
    choose("model.normalization", model.normalization, {normalization: None})
    choose("model.nonlinearity", model.nonlinearity, ACTIVATIONS)
    chain = process if isinstance(process, DiscreteChain) else None
    if model.scale_by_sigma and (config.training.sde != "vesde" or not (chain or takes_sigma)):
        raise ValueError(
            f"config.model.scale_by_sigma = True divides by a noise level, which the network {model.name!r} is not "
            "told here; use vesde with training.continuous = False or model.embedding_type = 'fourier', or False."
        )
    return {
        "nf": model.nf,
        "nonlinearity": model.nonlinearity,
        "normalization": model.normalization,
        "scale_by_sigma": model.scale_by_sigma,
        "num_channels": data_shape(config)[-1],
        "centered": config.data.centered,
        "sigmas": tuple(reversed(chain.stds)) if chain else None,
    }


DTYPES: dict[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
NETWORKS: dict[str, Callable[[ConfigDict, SDE], nn.Module]] = {
    "ncsnpp": _ncsnpp,
    "ddpm": _ddpm,
    "mlp": _mlp,
    "ncsn": _ncsn,
    "ncsnv2_64": _ncsnv2(64),
    "ncsnv2_128": _ncsnv2(128),
    "ncsnv2_256": _ncsnv2(256),
    "wideresnet": _wideresnet,
}
KNOW_CLASSES = ("ncsnpp", "mlp", "wideresnet")
KNOW_AUGMENTATION = ("ncsnpp", "mlp")
HAVE_BLOCKS = tuple(name for name in NETWORKS if name != "mlp")
ANY_RANK = ("ncsnpp", "ddpm", "mlp")  # the others are made for images
