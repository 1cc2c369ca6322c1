"""The methods for linear inverse problems by name; see `sampling.inverse.base` for how a sampler uses them."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from core.arrays import Array
from sampling.inverse.base import Conditioned
from sampling.inverse.ddnm import ddnm
from sampling.inverse.dps import dps
from sampling.inverse.operators.base import LinearOperator, SpectralOperator
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


@dataclasses.dataclass(frozen=True)
class Method:
    """A method by name: `(sde, operator, y, noise_std, settings)` -> what it changes in a sampler.

    `needs_spectrum`: whether it works in the coordinates of a `SpectralOperator`; others need the products of a
    `LinearOperator` only.
    """

    name: str
    condition: Callable[[SDE, Any, Array, float, MethodSettings], Conditioned]
    needs_spectrum: bool

    def __call__(
        self, sde: SDE, operator: LinearOperator, y: Array, noise_std: float, settings: MethodSettings
    ) -> Conditioned:
        """Conditions on y [B, *measurement_shape]. Errors: ValueError for another shape, and those of `check`."""
        self.check(operator)
        return self.condition(sde, operator, y, noise_std, settings)

    def check(self, operator: LinearOperator) -> None:
        """Errors: ValueError for an operator without singular values, if the method needs them."""
        if self.needs_spectrum and not isinstance(operator, SpectralOperator):
            others = [name for name, method in METHODS.items() if not method.needs_spectrum]
            raise ValueError(
                f"restore.method = {self.name!r} needs an operator with known singular values, but "
                f"{type(operator).__name__} has none; use {' or '.join(others)}."
            )


_METHODS = (
    Method(
        "projection",
        lambda sde, operator, y, noise_std, settings: projection(sde, operator, y, noise_std),
        needs_spectrum=True,
    ),
    Method(
        "ddnm",
        lambda sde, operator, y, noise_std, settings: ddnm(
            sde, operator, y, noise_std, prior_variance=settings.prior_variance
        ),
        needs_spectrum=True,
    ),
    Method(
        "pigdm",
        lambda sde, operator, y, noise_std, settings: pigdm(
            sde,
            operator,
            y,
            noise_std,
            prior_variance=settings.prior_variance,
            covariance=settings.covariance,
            num_iterations=settings.num_iterations,
            limit=settings.limit,
        ),
        needs_spectrum=False,
    ),
    Method(
        "dps",
        lambda sde, operator, y, noise_std, settings: dps(
            sde,
            operator,
            y,
            noise_std,
            prior_variance=settings.prior_variance,
            zeta=settings.zeta,
            form=settings.form,
        ),
        needs_spectrum=False,
    ),
    Method(
        "self_guidance",
        lambda sde, operator, y, noise_std, settings: observation_guidance(
            sde, operator, y, loss=settings.loss, scale=settings.scale, level=settings.level
        ),
        needs_spectrum=False,
    ),
)
METHODS = {method.name: method for method in _METHODS}
