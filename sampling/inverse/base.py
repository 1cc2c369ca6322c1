"""What the methods for linear inverse problems share: the parts of a sampler that they change, and their formulas.

Each method samples x given a measurement y = A x + noise, using the unconditional prediction and any sampler:

    conditioned = METHODS[name](sde, operator, y, noise_std, settings)
    sampler = pc(sde, conditioned.wrap_step(predictor), corrector, times)
    sampler(key, conditioned.wrap_predict(predict), shape, constrain=conditioned.constrain)

They correct the posterior mean of the data, x0(x) = E[x_0 | x_t = x], by its residual e = y - A x0.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian, Predict
from sampling.base import Constrain, Step, unconstrained
from sampling.inverse.conjugate_gradients import Linear, conjugate_gradients
from sampling.inverse.operators.base import LinearOperator, SpectralOperator
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


class Measurement(NamedTuple):
    """y = A x + noise, with the products A x and A^T u that a method needs.

    Those of a `SpectralOperator` are in its coordinates: A = S V^T and y = U^T y, zero where nothing is measured. U is
    orthonormal, so the noise is as white as before. `gain(prior_var, noise_var)` is then the diagonal of
    (prior_var A A^T + noise_var I)^-1, zero where nothing is measured; None for other operators.
    `num_iterations`: of conjugate gradients, where they are needed.
    """

    y: Array
    measure: Linear
    adjoint: Linear
    residual: Linear  # e = y - A x0: what x0 does not explain
    gain: Callable[[Array | float, Array | float], Array] | None
    num_iterations: int

    def solve(
        self, e: Array, prior_var: Array | float, noise_var: Array | float, covariance: Linear | None = None
    ) -> Array:
        """(A C A^T + noise_var I)^-1 e for the product with a covariance, v -> C v; by default C = prior_var I.

        Variances are scalars or [B]. Exact for a `SpectralOperator` with the default; otherwise by at most
        `num_iterations` conjugate gradients, preconditioned with the default where that is exact.
        """
        gain = None if self.gain is None else self.gain(prior_var, noise_var)
        if gain is not None and covariance is None:
            return gain * e

        def system(u: Array) -> Array:
            v = self.adjoint(u)
            C = covariance(v) if covariance else broadcast_to_rank(jnp.asarray(prior_var), v) * v
            return self.measure(C) + broadcast_to_rank(jnp.asarray(noise_var), u) * u

        return conjugate_gradients(system, e, unchanged if gain is None else lambda e: gain * e, self.num_iterations)


def measurement(operator: LinearOperator, y: Array, num_iterations: int = 10) -> Measurement:
    """The `Measurement` of y [B, *measurement_shape].

    Errors: ValueError for another shape, and for fewer than one iteration.
    """
    if num_iterations < 1:
        raise ValueError(f"num_iterations = {num_iterations}, but conjugate gradients need at least one.")
    if not isinstance(operator, SpectralOperator):
        if y.shape[1:] != tuple(operator.measurement_shape):
            raise ValueError(
                f"The measurement has shape {y.shape}, but this operator produces [B, *{operator.measurement_shape}]."
            )
        return Measurement(
            y, operator.measure, operator.adjoint, lambda x: y - operator.measure(x), None, num_iterations
        )
    return Measurement(
        operator.coordinates(y),
        lambda x: operator.singular_values * operator.to_basis(x),
        lambda u: operator.from_basis(operator.singular_values * u),
        lambda x: operator.residual(y, x),
        operator.gain,
        num_iterations,
    )


def posterior_variance(sde: SDE, t: Array, prior_variance: float) -> Array:
    """Variance r^2 of x_0 given x_t for data N(0, v I), v = `prior_variance`, at times [B]: [B].

    r^2 = v std^2 / (m^2 v + std^2),    m = mean_coeff(t), std = std(t)
    """
    variance = sde.std(t) ** 2
    return prior_variance * variance / (sde.mean_coeff(t) ** 2 * prior_variance + variance)


def corrected(prediction: Gaussian, sde: SDE, t: Array, change: Array) -> Gaussian:
    """The prediction for the same x at times t [B], with `change` [B, ...] added to x0.

    x = m x0 + std noise,    so noise <- noise - (m / std) change
    """
    ratio = broadcast_to_rank(sde.mean_coeff(t) / sde.std(t), change)
    return Gaussian(prediction.x0 + change, prediction.noise - ratio * change)


def pullback(predict: Predict, x: Array, t: Array) -> tuple[Gaussian, Callable[[Array], Array]]:
    """The prediction at x, and the product `v -> J^T v`, from one call of the network.

    J = d x0 / d x = (m / std^2) Cov[x_0 | x_t]
    """

    def expected(x: Array) -> tuple[Array, Gaussian]:
        prediction = predict(x, t)
        return prediction.x0, prediction

    _, pull, prediction = jax.vjp(expected, x, has_aux=True)
    return prediction, lambda v: pull(v)[0]


def covariance_scale(sde: SDE, x: Array, t: Array) -> Array:
    """`std^2 / m`, which turns J of `pullback`, and a change of the score, into a covariance and a change of x0."""
    return broadcast_to_rank(sde.std(t) ** 2 / sde.mean_coeff(t), x)
