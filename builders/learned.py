"""What is trained beside the network: parameters next to its own, each under a name of its own."""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from core.arrays import Array
from core.keys import InitKey, fold_in
from models.heads.schedule import MonotoneSchedule, Schedule
from models.heads.uncertainty import Uncertainty
from sde.base import SDE
from training.objectives.base import Params
from training.objectives.score_matching import LogLoss
from training.objectives.variational_diffusion import ScheduleOf

UNCERTAINTY, SCHEDULE = "uncertainty", "noise_schedule"
NAMES = (UNCERTAINTY, SCHEDULE)


def beside_network(config: ConfigDict, params: Params, key: Array) -> Params:
    """The parameters of the network, and of what is trained beside it.

    Errors: ValueError for a network that uses one of the names itself.
    """
    found: dict[str, Any] = {}
    if config.training.uncertainty:
        found[UNCERTAINTY] = Uncertainty().init({"params": fold_in(key, InitKey.UNCERTAINTY)}, jnp.zeros(1))["params"]
    if config.training.noise_schedule == "learned":
        found[SCHEDULE] = MonotoneSchedule().init({"params": fold_in(key, InitKey.SCHEDULE)}, jnp.zeros(1))["params"]
    for name in found:
        if name in params:
            raise ValueError(f"The network has parameters {name!r}, which are also trained beside it; rename them.")
    return {**params, **found} if found else params


def of_network(params: Params) -> Params:
    """The parameters without those that are trained beside the network."""
    return {name: value for name, value in params.items() if name not in NAMES} if isinstance(params, dict) else params


def uncertainty(config: ConfigDict) -> LogLoss | None:
    """`(params, sde, t [B]) -> u [B]`, the learned logarithm of the expected loss; None without one."""
    if not config.training.uncertainty:
        return None
    module = Uncertainty()

    def log_loss(params: Params, sde: SDE, t: Array) -> Array:
        found: Any = module.apply({"params": params[UNCERTAINTY]}, 2 * jnp.log(sde.mean_coeff(t) / sde.std(t)))
        return found

    return log_loss


def schedule(config: ConfigDict) -> ScheduleOf:
    """`(params, t [B]) -> Schedule`: the learned map of times, or all times of the SDE from training.eps on."""
    if config.training.noise_schedule != "learned":
        first = jnp.asarray(config.training.eps)
        return lambda params, t: Schedule(t, jnp.ones_like(t), first, jnp.ones(()))
    module = MonotoneSchedule()

    def learned(params: Params, t: Array) -> Schedule:
        found: Any = module.apply({"params": params[SCHEDULE]}, t)
        return found

    return learned
