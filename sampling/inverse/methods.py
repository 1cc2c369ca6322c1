"""The methods for linear inverse problems by name; see `sampling.inverse.base` for how a sampler uses them."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

from core.arrays import Array
from sampling.inverse.base import Conditioned
from sampling.inverse.ddnm import ddnm
from sampling.inverse.dps import dps
from sampling.inverse.operators.base import LinearOperator
from sampling.inverse.pigdm import pigdm
from sampling.inverse.projection import projection
from sampling.observation_guidance import observation_guidance
from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """Settings of all methods; each uses those it has. They are documented in the functions that take them."""

    prior_variance: float = 1.0
    covariance: Literal["isotropic", "jacobian"] = "isotropic"
    num_iterations: int = 10
    limit: float = math.inf
    zeta: float = 1.0
    form: Literal["step", "score"] = "step"
    loss: Literal["mean_square", "quantile"] = "mean_square"
    scale: float = 1.0
    level: Array | float = 0.5


Method = Callable[[SDE, LinearOperator, Array, float, MethodSettings], Conditioned]
METHODS: dict[str, Method] = {  # (sde, operator, y [B, *measurement_shape], noise_std, settings)
    "none": lambda sde, operator, y, noise_std, settings: Conditioned(),  # for networks that are conditioned on y
    "projection": lambda sde, operator, y, noise_std, settings: projection(
        sde, operator, y, noise_std, num_iterations=settings.num_iterations
    ),
    "ddnm": lambda sde, operator, y, noise_std, settings: ddnm(
        sde,
        operator,
        y,
        noise_std,
        prior_variance=settings.prior_variance,
        num_iterations=settings.num_iterations,
    ),
    "pigdm": lambda sde, operator, y, noise_std, settings: pigdm(
        sde,
        operator,
        y,
        noise_std,
        prior_variance=settings.prior_variance,
        covariance=settings.covariance,
        num_iterations=settings.num_iterations,
        limit=settings.limit,
    ),
    "dps": lambda sde, operator, y, noise_std, settings: dps(
        sde,
        operator,
        y,
        noise_std,
        prior_variance=settings.prior_variance,
        zeta=settings.zeta,
        form=settings.form,
    ),
    "self_guidance": lambda sde, operator, y, noise_std, settings: observation_guidance(
        sde, operator, y, loss=settings.loss, scale=settings.scale, level=settings.level
    ),
}
