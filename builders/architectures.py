"""The fields of each network of the project, from a config."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from builders.condition import embedding
from builders.process import SDE_FAMILIES, parameterization_name, sde_family
from builders.shape import check_halvings, data_shape
from core.tables import choose
from corruption.categorical import CategoricalNoise
from models.blocks.activations import ACTIVATIONS
from models.blocks.remat import POLICIES, Remat
from models.classifier import WideResnet
from models.networks import ncsnpp, ncsnv2
from models.networks.ddpm import DDPM
from models.networks.dit import POSITIONS, DiT
from models.networks.edm2 import EDM2
from models.networks.mlp import MLP
from models.networks.ncsn import NCSN
from models.networks.ncsnpp import NCSNpp
from models.networks.ncsnv2 import NCSNv2
from models.networks.s4_residual import S4Residual
from models.networks.token_transformer import TokenTransformer
from sde.base import SDE


def make_ncsnpp(config: ConfigDict, process: SDE) -> NCSNpp:
    """NCSN++ and DDPM++. Errors: ValueError for an unknown choice of a block."""
    model = config.model
    for key, choices in ncsnpp.CHOICES.items():
        if key in model:
            choose(f"model.{key}", model[key], dict.fromkeys(choices))
    return NCSNpp(
        **_u_net(config, process, takes_sigma=model.embedding_type == "fourier"),
        embedding=embedding(config),
        init_scale=model.init_scale,
        fir=model.fir,
        fir_kernel=tuple(model.fir_kernel),
        skip_rescale=model.skip_rescale,
        resblock_type=model.resblock_type,
        progressive=model.progressive,
        progressive_input=model.progressive_input,
        progressive_combine=model.progressive_combine,
    )


def make_mlp(config: ConfigDict, process: SDE) -> MLP:
    """The residual perceptron of vectors."""
    model = config.model
    return MLP(
        **_common(config, process, normalization="GroupNorm", takes_sigma=model.embedding_type == "fourier"),
        embedding=embedding(config),
        init_scale=model.init_scale,
        num_res_blocks=model.num_res_blocks,
        dropout=model.dropout,
    )


def make_s4_residual(config: ConfigDict, process: SDE) -> S4Residual:
    """The network of time series. Errors: ValueError for an odd size of the state."""
    model = config.model
    if model.state_size % 2:
        raise ValueError(
            f"config.model.state_size = {model.state_size} must be even, because states are complex; use "
            f"{model.state_size + 1}."
        )
    return S4Residual(
        **_common(config, process, normalization="GroupNorm", takes_sigma=model.embedding_type == "fourier"),
        embedding=embedding(config),
        init_scale=model.init_scale,
        num_res_blocks=model.num_res_blocks,
        state_size=model.state_size,
        dropout=model.dropout,
    )


def make_dit(config: ConfigDict, process: SDE) -> DiT:
    """The diffusion transformer. Errors: ValueError for patches, heads or a scaling that it cannot have."""
    model, shape = config.model, data_shape(config)
    choose("model.nonlinearity", model.nonlinearity, ACTIVATIONS)
    choose("model.positions", model.positions, dict.fromkeys(POSITIONS))
    check_heads(config)
    if any(side % model.patch_size for side in shape[:-1]):
        raise ValueError(
            f"config.model.patch_size = {model.patch_size} does not divide the sides of examples of the shape {shape}; "
            "use a common divisor of them."
        )
    _check_unscaled(config)
    return DiT(
        nf=model.nf,
        num_blocks=model.num_res_blocks,
        num_heads=model.num_heads,
        patch_size=model.patch_size,
        positions=model.positions,
        qk_norm=model.qk_norm,
        dropout=model.dropout,
        embedding=embedding(config),
        nonlinearity=model.nonlinearity,
        num_channels=shape[-1],
        centered=config.data.centered,
        remat=make_remat(config),
    )


def make_edm2(config: ConfigDict, process: SDE) -> EDM2:
    """The magnitude-preserving U-Net. Errors: ValueError for sides or a scaling that it cannot have."""
    model = config.model
    check_halvings(config, len(model.ch_mult) - 1, " or fewer entries in config.model.ch_mult")
    _check_unscaled(config)
    return EDM2(
        nf=model.nf,
        ch_mult=tuple(model.ch_mult),
        num_res_blocks=model.num_res_blocks,
        attn_resolutions=tuple(model.attn_resolutions),
        dropout=model.dropout,
        embedding=embedding(config),
        num_channels=data_shape(config)[-1],
        centered=config.data.centered,
        remat=make_remat(config),
    )


def make_token_transformer(config: ConfigDict, process: CategoricalNoise) -> TokenTransformer:
    """The transformer of categories. Errors: ValueError for heads that do not divide its width."""
    model = config.model
    choose("model.nonlinearity", model.nonlinearity, ACTIVATIONS)
    check_heads(config)
    return TokenTransformer(
        num_categories=process.num_categories,
        num_states=process.num_states,
        shape=data_shape(config),
        nf=model.nf,
        num_blocks=model.num_res_blocks,
        num_heads=model.num_heads,
        dropout=model.dropout,
        embedding=embedding(config),
        output=model.output,
        nonlinearity=model.nonlinearity,
        remat=make_remat(config),
    )


def make_ddpm(config: ConfigDict, process: SDE) -> DDPM:
    """DDPM's U-Net."""
    return DDPM(**_u_net(config, process, takes_sigma=False), conditional=config.model.conditional)


def make_ncsn(config: ConfigDict, process: SDE) -> NCSN:
    """The first NCSN. Errors: ValueError in continuous time, for which it has no normalizations."""
    if not process.is_discrete:
        raise ValueError(
            "config.model.name = 'ncsn' has its own normalizations for each of model.num_scales noise levels; "
            "use config.training.continuous = False."
        )
    return NCSN(**_refinenet(config, process, size=64), num_classes=config.model.num_scales)


def make_ncsnv2(size: int) -> Callable[[ConfigDict, SDE], NCSNv2]:
    """The variant for images of `size` pixels."""
    return lambda config, process: NCSNv2(**_refinenet(config, process, size=size), size=size)


def make_wideresnet(config: ConfigDict, process: SDE) -> WideResnet:
    """The classifier. Errors: ValueError without classes."""
    model = config.model
    if not model.num_labels:
        raise ValueError(
            "config.model.name = 'wideresnet' predicts the class of an image, but config.model.num_labels = 0; set it "
            "to the number of classes of the data set."
        )
    check_halvings(config, 2)
    return WideResnet(
        num_labels=model.num_labels,
        blocks_per_group=model.blocks_per_group,
        channel_multiplier=model.channel_multiplier,
        num_channels=data_shape(config)[-1],
        remat=make_remat(config),
    )


def _check_unscaled(config: ConfigDict) -> None:
    """Errors: ValueError where the output is to be divided by the noise level."""
    if config.model.scale_by_sigma:
        raise ValueError(
            f"config.model.scale_by_sigma = True divides the output by a noise level, which the network "
            f"{config.model.name!r} does not do; set it to False."
        )


def check_heads(config: ConfigDict) -> None:
    """Errors: ValueError for heads that do not divide the width of a transformer."""
    model = config.model
    if 4 * model.nf % model.num_heads:
        raise ValueError(
            f"config.model.num_heads = {model.num_heads} does not divide the width, 4 config.model.nf = "
            f"{4 * model.nf}; use a divisor."
        )


def make_remat(config: ConfigDict) -> Remat:
    """The policy of rematerialization, or False. Errors: ValueError for an unknown name."""
    choose("model.remat_policy", config.model.remat_policy, POLICIES)
    return config.model.remat and config.model.remat_policy


def _u_net(config: ConfigDict, process: SDE, *, takes_sigma: bool) -> dict[str, Any]:
    """The fields that NCSN++ and DDPM share."""
    model = config.model
    check_halvings(config, len(model.ch_mult) - 1, " or fewer entries in config.model.ch_mult")
    return {
        **_common(config, process, normalization="GroupNorm", takes_sigma=takes_sigma),
        "ch_mult": tuple(model.ch_mult),
        "num_res_blocks": model.num_res_blocks,
        "attn_resolutions": tuple(model.attn_resolutions),
        "dropout": model.dropout,
        "resamp_with_conv": model.resamp_with_conv,
        "remat": make_remat(config),
    }


def _refinenet(config: ConfigDict, process: SDE, *, size: int) -> dict[str, Any]:
    """The fields that NCSN and NCSNv2 share."""
    check_halvings(config, ncsnv2.VARIANTS[size].halvings)
    common = _common(config, process, normalization="InstanceNorm++", takes_sigma=True)
    return {**common, "remat": make_remat(config)}


def _common(config: ConfigDict, process: SDE, *, normalization: str, takes_sigma: bool) -> dict[str, Any]:
    """The fields that all score networks share; `takes_sigma`: whether its time may be the noise level itself."""
    model = config.model
    choose("model.normalization", model.normalization, {normalization: None})
    choose("model.nonlinearity", model.nonlinearity, ACTIVATIONS)
    if model.scale_by_sigma and not (sde_family(config).scale_by_sigma and (process.is_discrete or takes_sigma)):
        others = " or ".join(name for name, family in SDE_FAMILIES.items() if family.scale_by_sigma)
        raise ValueError(
            f"config.model.scale_by_sigma = True divides by a noise level, which the network {model.name!r} does "
            f"not receive here; use {others} with training.continuous = False or model.embedding_type = 'fourier', or "
            "False."
        )
    parameterization = parameterization_name(config)
    if model.scale_by_sigma and parameterization != "score":
        raise ValueError(
            f"config.model.scale_by_sigma = True divides the output by the noise level, as a score needs it, but "
            f"config.model.parameterization = {parameterization!r}; set scale_by_sigma to False."
        )
    return {
        "nf": model.nf,
        "nonlinearity": model.nonlinearity,
        "normalization": model.normalization,
        "scale_by_sigma": model.scale_by_sigma,
        "num_channels": data_shape(config)[-1],
        "centered": config.data.centered,
        "sigmas": tuple(reversed(process.level_stds)) if process.is_discrete else None,
    }
