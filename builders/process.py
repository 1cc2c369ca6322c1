"""The process of a config: one table for SDEs, by `training.sde`, and one for categories, by `model.corruption`."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

from ml_collections import ConfigDict

from builders.shape import data_shape
from core.tables import choose
from corruption import schedules
from corruption.categorical import Absorbing, CategoricalNoise, Uniform
from models.parameterizations import TimeFn, descending_level, noise_level, scaled_time
from sde.base import SDE
from sde.chain import ddpm_chain, smld_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.linear import Linear
from sde.log_linear import LogLinear
from sde.subvp import SubVP
from sde.times import resolution_shift
from sde.ve import VE
from sde.vp import VP

SCALED_TIME = scaled_time(999)


@dataclasses.dataclass(frozen=True)
class Chain:
    """The discrete form of an SDE; each field is a function of `config.model`.

    `make`: the chain of `model.num_scales` levels. `network_time`: what its network receives as the time.
    """

    make: Callable[[ConfigDict], SDE]
    network_time: Callable[[ConfigDict], TimeFn]


@dataclasses.dataclass(frozen=True)
class SDEFamily:
    """Everything that depends on which SDE a config names; the defaults are those published for VP and sub-VP.

    `make`: the SDE, from `config.model`.
    `chain`: its discrete form, for `training.continuous = False`; None if it has none.
    `network_time`: what the network receives as the time, in continuous time.
    `scale_by_sigma`: whether `model.scale_by_sigma` is possible, which divides the network's output by the noise level.
    `parameterization`, `ancestral_variance`: those of the published models.
    `last_time`: the time at which samplers stop, from `config.model`.
    """

    make: Callable[[ConfigDict], SDE]
    chain: Chain | None = None
    network_time: TimeFn = SCALED_TIME
    scale_by_sigma: bool = False
    parameterization: str = "noise"
    ancestral_variance: Literal["posterior", "transition"] = "transition"
    last_time: Callable[[ConfigDict], float] = lambda model: 1e-3


SDE_FAMILIES: dict[str, SDEFamily] = {
    "vpsde": SDEFamily(
        make=lambda model: VP(model.beta_min, model.beta_max),
        chain=Chain(
            make=lambda model: ddpm_chain(model.beta_min, model.beta_max, model.num_scales),
            network_time=lambda model: scaled_time(model.num_scales - 1),
        ),
    ),
    "subvpsde": SDEFamily(make=lambda model: SubVP(model.beta_min, model.beta_max)),
    "vesde": SDEFamily(
        make=lambda model: VE(model.sigma_min, model.sigma_max),
        chain=Chain(
            make=lambda model: smld_chain(model.sigma_min, model.sigma_max, model.num_scales),
            network_time=lambda model: descending_level,
        ),
        network_time=noise_level,
        scale_by_sigma=True,
        parameterization="score",
        ancestral_variance="posterior",
        last_time=lambda model: 1e-5,
    ),
    "edm": SDEFamily(
        make=lambda model: EDM(model.sigma_max),
        network_time=noise_level,
        parameterization="score",
        ancestral_variance="posterior",
        last_time=lambda model: 0.002 / model.sigma_max,  # sigma = 0.002
    ),
    "cosine": SDEFamily(make=lambda model: Cosine(model.log_snr_min, model.log_snr_max)),
    "log_linear": SDEFamily(make=lambda model: LogLinear(model.log_snr_min, model.log_snr_max)),
    "linear": SDEFamily(make=lambda model: Linear(), parameterization="flow", ancestral_variance="posterior"),
}


SCHEDULES: dict[str, Callable[[ConfigDict], schedules.Schedule]] = {  # from `config.model`
    "linear": lambda model: schedules.Polynomial(),
    "cosine": lambda model: schedules.Cosine(),
    "polynomial": lambda model: schedules.Polynomial(model.schedule_power),
}
CORRUPTIONS: dict[str, Callable[[ConfigDict, schedules.Schedule], CategoricalNoise]] = {
    "absorbing": lambda model, schedule: Absorbing(model.num_categories, schedule),
    "uniform": lambda model, schedule: Uniform(model.num_categories, schedule, kernel=model.reverse_kernel),
}


def make_corruption(config: ConfigDict) -> CategoricalNoise:
    """The process of categories that `config.model` describes.

    Errors: ValueError for an unknown name, and without a number of categories.
    """
    model = config.model
    make = choose("model.corruption", model.corruption, CORRUPTIONS)
    schedule = choose("model.schedule", model.schedule, SCHEDULES)(model)
    if model.num_categories is None:
        raise ValueError(
            "config.model.num_categories is not set; set it to the number of levels of the data, such as 17 for digits."
        )
    return make(model, schedule)


def sde_family(config: ConfigDict) -> SDEFamily:
    """The row of `training.sde`. Errors: ValueError for a name that is not in the table."""
    return choose("training.sde", config.training.sde, SDE_FAMILIES)


def make_sde(config: ConfigDict) -> SDE:
    """The SDE of the config, or its chain of `model.num_scales` levels if `training.continuous` is False.

    Errors: ValueError for an SDE without a chain.
    """
    family = sde_family(config)
    return family.make(config.model) if config.training.continuous else _chain(config).make(config.model)


def network_time(config: ConfigDict) -> TimeFn:
    """`(sde, t [B]) -> [B]`: what the network receives as the time."""
    family = sde_family(config)
    return family.network_time if config.training.continuous else _chain(config).network_time(config.model)


def parameterization_name(config: ConfigDict) -> str:
    """What the network predicts: `model.parameterization`, or that of the SDE's published models."""
    return config.model.parameterization or sde_family(config).parameterization


def time_shift(config: ConfigDict) -> float:
    """alpha of `sde.times.shift` for the size of the data; 1 without `training.time_shift_base`."""
    base = config.training.time_shift_base
    return 1.0 if base is None else resolution_shift(math.prod(data_shape(config)), base)


def _chain(config: ConfigDict) -> Chain:
    chain = sde_family(config).chain
    if chain is None:
        others = " or ".join(name for name, family in SDE_FAMILIES.items() if family.chain)
        raise ValueError(
            f"config.training.continuous = False has no meaning for {config.training.sde}; use {others}, or True."
        )
    return chain
