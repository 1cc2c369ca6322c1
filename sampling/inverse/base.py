"""What the methods for linear inverse problems share: the parts of a sampler that they change, and their formulas.

Each method samples x given a measurement y = A x + noise, using the unconditional prediction and any sampler:

    conditioned = METHODS[name](sde, operator, y, noise_std, settings)
    sampler = PC(sde, conditioned.wrap_step(predictor), corrector, times)
    sampler(key, conditioned.wrap_predict(predict), shape, constrain=conditioned.constrain)

They correct the posterior mean of the data, x0(x) = E[x_0 | x_t = x], by its residual e = U^T y - S V^T x0 in the
coordinates of A = U S V^T.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax

from core.arrays import Array
from corruption.predictions import Gaussian, Predict
from sampling.base import Constrain, Step, unconstrained
from sampling.inverse.operators.base import SpectralOperator
from sde.base import SDE

T = TypeVar("T")


def unchanged(part: T) -> T:
    """The wrapper that changes nothing."""
    return part


class Conditioned(NamedTuple):
    """What a method changes in a sampler: the prediction, the predictor, the constraint.

    A sampler without a predictor (multistep methods, the ODE) supports a method only if `wrap_step` is `unchanged`; one
    without constraints (the ODE) only if `constrain` is `unconstrained`.
    """

    wrap_predict: Callable[[Predict], Predict] = unchanged
    wrap_step: Callable[[Step], Step] = unchanged
    constrain: Constrain = unconstrained


def posterior_variance(sde: SDE, t: Array, prior_variance: float) -> Array:
    """Variance r^2 of x_0 given x_t for data N(0, v I), v = `prior_variance`, at times [B]: [B].

    r^2 = v std^2 / (m^2 v + std^2),    m = mean_coeff(t), std = std(t)
    """
    variance = sde.std(t) ** 2
    return prior_variance * variance / (sde.mean_coeff(t) ** 2 * prior_variance + variance)


def residual(operator: SpectralOperator, y: Array, x0: Array) -> Array:
    """`e = U^T y - S V^T x0`: coordinates of the part of y that x0 does not explain, zero where nothing is measured."""
    return operator.coordinates(y) - operator.singular_values * operator.to_basis(x0)


def adjoint_of_coordinates(operator: SpectralOperator, u: Array) -> Array:
    """`A^T U u = V S u` of coordinates u: [B, *shape]."""
    return operator.from_basis(operator.singular_values * u)


def pullback(predict: Predict, x: Array, t: Array) -> tuple[Gaussian, Callable[[Array], Array]]:
    """The prediction at x, and the product `v -> J^T v`, from one call of the network.

    J = d x0 / d x = (m / std^2) Cov[x_0 | x_t]
    """

    def expected(x: Array) -> tuple[Array, Gaussian]:
        prediction = predict(x, t)
        return prediction.x0, prediction

    _, pull, prediction = jax.vjp(expected, x, has_aux=True)
    return prediction, lambda v: pull(v)[0]
