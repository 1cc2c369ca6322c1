"""Samples of x given a linear measurement y = A x + noise, with the unconditional score: ways to change a sampler.

    conditioned = METHODS[name](sde, operator, y, noise_std, **settings)
    sampler = PC(sde, conditioned.wrap_step(predictor), corrector, times)
    sampler(key, conditioned.wrap_score(score_fn), shape, constrain=conditioned.constrain)

They correct what is expected of the data, x0(x) = E[x_0 | x_t = x], by its residual e = U^T y - S V^T x0 in the
coordinates of A = U S V^T. With m = mean_coeff(t), std = std(t), and v the variance of the data,

    r^2 = v std^2 / (m^2 v + std^2)        variance of x_0 given x_t, were the data N(0, v I)
    J = d x0 / d x = (m / std^2) Cov[x_0 | x_t]

they add to the score

    ddnm                (m r^2 / std^2) A^T (r^2 A A^T + noise_std^2)^-1 U e
    pigdm               J^T             A^T (r^2 A A^T + noise_std^2)^-1 U e
    pigdm, "jacobian"   J^T             A^T (A Cov A^T + noise_std^2)^-1 U e          exact for a Gaussian prior
    dps, "score"        J^T             A^T U e zeta sqrt(M) / (|e| sqrt(r^2 max(S)^2 + noise_std^2))
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sampling.base import Constrain, Sample, Step, posterior_mean, unconstrained
from sampling.inverse.operators.base import Operator
from sampling.inverse.projection import project
from sde.base import SDE, ScoreFn

TOLERANCE = 1e-5  # relative residual at which conjugate gradients rest; about what float32 can tell
T = TypeVar("T")
Linear = Callable[[Array], Array]  # coordinates [B, ...] -> coordinates [B, ...]


def unchanged(part: T) -> T:
    """The wrapper that changes nothing."""
    return part


class Conditioned(NamedTuple):
    """What a method changes of a sampler: the score function, the predictor, the constraint.

    A sampler without a predictor (multistep methods, the ODE) takes a method only if `wrap_step` is `unchanged`, one
    without constraints (the ODE) only if `constrain` is `unconstrained`; it takes the others as they are.
    """

    wrap_score: Callable[[ScoreFn], ScoreFn] = unchanged
    wrap_step: Callable[[Step], Step] = unchanged
    constrain: Constrain = unconstrained


def projection(sde: SDE, operator: Operator, y: Array, noise_std: float = 0.0) -> Conditioned:
    """Song et al. 2021's projection: see `sampling.inverse.projection.project`. For samplers with a constraint."""
    return Conditioned(constrain=project(sde, operator, y, noise_std))


def ddnm(sde: SDE, operator: Operator, y: Array, noise_std: float = 0.0, *, prior_variance: float = 1.0) -> Conditioned:
    """The expected data, corrected to explain the measurement: x0 <- x0 + A^+ (y - A x0). For all samplers.

    With noise, x0 <- x0 + r^2 A^T (r^2 A A^T + noise_std^2)^-1 (y - A x0), the posterior mean if x_0 given x_t is
    N(x0, r^2 I). The score is (m x0 - x) / std^2, so for data N(0, prior_variance I) it is exact.
    `prior_variance`: of the data, per number; without noise it has no effect.
    Source: Wang et al., "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", ICLR 2023, section 3.
    Notes: their noisy variant trusts y fully while the sampler's own step adds more noise than y has, so it needs to
    know the step; here the trust is that of the Gaussian above, for any sampler.
    """

    def wrap_score(score_fn: ScoreFn) -> ScoreFn:
        def guided(x: Array, t: Array) -> Array:
            score = score_fn(x, t)
            variance = posterior_variance(sde, t, prior_variance)
            e = _residual(operator, y, posterior_mean(lambda x, t: score, sde, x, t))
            weight = broadcast_to_rank(sde.mean_coeff(t) * variance / sde.std(t) ** 2, x)
            return score + weight * _pulled(operator, operator.gain(variance, noise_std**2) * e)

        return guided

    return Conditioned(wrap_score=wrap_score)


def pigdm(
    sde: SDE,
    operator: Operator,
    y: Array,
    noise_std: float = 0.0,
    *,
    prior_variance: float = 1.0,
    covariance: Literal["isotropic", "jacobian"] = "isotropic",
    num_iterations: int = 10,
    limit: float = math.inf,
) -> Conditioned:
    """Pseudo-inverse guidance: score + gradient of log N(y; A x0(x), A C A^T + noise_std^2 I). For all samplers.

    `covariance`: of x_0 given x_t. "isotropic" is C = r^2 I for data of variance `prior_variance`. "jacobian" is
    C = (std^2 / m) d x0 / d x, the covariance that the score itself tells: then the linear system is solved by at
    most `num_iterations` conjugate gradients for each example, each a product with the Jacobian (a backward pass),
    and preconditioned by the isotropic case. Where the data are Gaussian that is the exact posterior score.
    `limit`: largest norm of the change of x0, in units of sqrt(D prior_variance), the data's own. An exact score stays
    below 1 on average. A network's x0 and its derivative are wrong by many times the data where m / std is small, and
    this keeps such errors from being added up.
    Calls the score function once, and differentiates it. Errors: ValueError for another `covariance`.
    Source: Song et al., "Pseudoinverse-Guided Diffusion Models for Inverse Problems", ICLR 2023, section 3;
    the covariance of Boys et al., "Tweedie Moment Projected Diffusions for Inverse Problems", TMLR 2024.
    Notes: the score is not weighted further; their algorithm 1 multiplies by r^2 within its DDIM step.
    """
    if covariance not in ("isotropic", "jacobian"):
        raise ValueError(f"covariance = {covariance!r} is not one of 'isotropic', 'jacobian'.")
    if num_iterations < 1:
        raise ValueError(f"num_iterations = {num_iterations}, but conjugate gradients take at least one.")

    def wrap_score(score_fn: ScoreFn) -> ScoreFn:
        def guided(x: Array, t: Array) -> Array:
            x0, pull, score = _pullback(score_fn, sde, x, t)
            e = _residual(operator, y, x0)
            gain = operator.gain(posterior_variance(sde, t, prior_variance), noise_std**2)
            if covariance == "isotropic":
                return score + limited(pull(_pulled(operator, gain * e)), t)
            scale = broadcast_to_rank(sde.std(t) ** 2 / sde.mean_coeff(t), x)

            def system(u: Array) -> Array:
                c = operator.to_basis(scale * pull(_pulled(operator, u)))
                return operator.singular_values * c + noise_std**2 * u

            u = conjugate_gradients(system, e, lambda e: gain * e, num_iterations)
            return score + limited(pull(_pulled(operator, u)), t)

        return guided

    def limited(shift: Array, t: Array) -> Array:
        """`shift` [B, ...] of the score, made smaller where it would change x0 by more than `limit`."""
        change = jnp.sqrt(jnp.sum(shift**2, axis=tuple(range(1, shift.ndim)))) * sde.std(t) ** 2 / sde.mean_coeff(t)
        largest = limit * math.sqrt(prior_variance * math.prod(shift.shape[1:]))
        return broadcast_to_rank(jnp.minimum(1.0, largest / jnp.maximum(change, 1e-30)), shift) * shift

    return Conditioned(wrap_score=wrap_score)


def dps(
    sde: SDE,
    operator: Operator,
    y: Array,
    noise_std: float = 0.0,
    *,
    prior_variance: float = 1.0,
    zeta: float = 1.0,
    form: Literal["step", "score"] = "step",
) -> Conditioned:
    """Diffusion posterior sampling: every step is followed by one down the gradient of the residual.

    "step"     x_next <- x_next - zeta grad_x |y - A x0(x)|,   x before the step; the predictor of `PC` only
    "score"    score - (zeta sqrt(M) / sqrt(r^2 max(S)^2 + noise_std^2)) grad_x |y - A x0(x)|;   all samplers

    A step of "step" does not know how long its predictor's is: zeta fits a number of steps, and neither `noise_std`
    nor `prior_variance` enters. In "score", of M measured coordinates, zeta = 1 is the gradient of `pigdm`,
    "isotropic", for singular values that are all alike and a residual as large as expected: it suits any number of
    steps, any units. Evaluates the score function twice in a step, once in "score".
    Source: Chung et al., "Diffusion Posterior Sampling for General Noisy Inverse Problems", ICLR 2023, algorithm 1
    (with the square of the norm over the norm, so zeta is twice theirs). Errors: ValueError for another `form`.
    """
    if form not in ("step", "score"):
        raise ValueError(f"form = {form!r} is not one of 'step', 'score'.")

    def descent(score_fn: ScoreFn, x: Array, t: Array) -> tuple[Array, Array, Array]:
        """Minus the gradient of the residual's norm [B, ...], M [B], and the score [B, ...], of one call."""
        x0, pull, score = _pullback(score_fn, sde, x, t)
        e = _residual(operator, y, x0)
        axes = tuple(range(1, e.ndim))
        norm = jnp.sqrt(jnp.sum(e**2, axis=axes))
        num_measured = jnp.sum(jnp.broadcast_to(operator.measured, e.shape), axis=axes)
        return pull(_pulled(operator, e / broadcast_to_rank(jnp.maximum(norm, 1e-12), e))), num_measured, score

    def wrap_step(step: Step) -> Step:
        def guided(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
            sample, shift = step(z, score_fn, sde, x, t, t_next), zeta * descent(score_fn, x, t)[0]
            return Sample(sample.x + shift, sample.mean + shift)

        return guided

    def wrap_score(score_fn: ScoreFn) -> ScoreFn:
        def guided(x: Array, t: Array) -> Array:
            shift, num_measured, score = descent(score_fn, x, t)
            largest = jnp.max(operator.singular_values)
            variance = posterior_variance(sde, t, prior_variance) * largest**2 + noise_std**2
            return score + broadcast_to_rank(zeta * jnp.sqrt(num_measured / jnp.maximum(variance, 1e-30)), x) * shift

        return guided

    return Conditioned(wrap_step=wrap_step) if form == "step" else Conditioned(wrap_score=wrap_score)


def posterior_variance(sde: SDE, t: Array, prior_variance: float) -> Array:
    """r^2 = v std^2 / (m^2 v + std^2): variance of x_0 given x_t for data N(0, v I), at times [B]: [B]."""
    variance = sde.std(t) ** 2
    return prior_variance * variance / (sde.mean_coeff(t) ** 2 * prior_variance + variance)


def conjugate_gradients(system: Linear, b: Array, precondition: Linear, num_iterations: int) -> Array:
    """u with system(u) = b, for a linear map of each example [B, ...] that is symmetric and not negative.

    At most `num_iterations` products with the system. An example rests when its residual is `TOLERANCE` of b, or its
    system shows itself not to be positive (a network's Jacobian need not be symmetric), with what it has by then.
    Source: Hestenes and Stiefel, J. Res. Nat. Bur. Standards 49, 1952, section 3; preconditioned.
    """

    def dot(a: Array, b: Array) -> Array:
        return broadcast_to_rank(jnp.sum(a * b, axis=tuple(range(1, a.ndim))), a)

    State = tuple[Array, Array, Array, Array, Array, Array]

    def going_on(state: State) -> Array:
        return (state[0] < num_iterations) & jnp.any(state[-1])

    def iterate(state: State) -> State:
        number, u, residual, direction, size, going = state
        moved = system(direction)
        curvature = dot(direction, moved)
        going = going & (curvature > 0)
        alpha = jnp.where(going, size / jnp.where(going, curvature, 1.0), 0.0)
        u, residual = u + alpha * direction, residual - alpha * moved
        z = precondition(residual)
        new_size = dot(residual, z)
        direction = z + jnp.where(going, new_size / jnp.where(size > 0, size, 1.0), 0.0) * direction
        return number + 1, u, residual, direction, new_size, going & (dot(residual, residual) > least)

    z = precondition(b)
    least = TOLERANCE**2 * dot(b, b)
    start = (jnp.zeros((), jnp.int32), jnp.zeros_like(b), b, z, dot(b, z), dot(b, b) > 0)
    return jax.lax.while_loop(going_on, iterate, start)[1]


def _pullback(score_fn: ScoreFn, sde: SDE, x: Array, t: Array) -> tuple[Array, Callable[[Array], Array], Array]:
    """x0(x), the product v -> J^T v, and the score, of one call of the score function."""

    def expected(x: Array) -> tuple[Array, Array]:
        score = score_fn(x, t)
        return posterior_mean(lambda x, t: score, sde, x, t), score

    x0, pull, score = jax.vjp(expected, x, has_aux=True)
    return x0, lambda v: pull(v)[0], score


def _residual(operator: Operator, y: Array, x0: Array) -> Array:
    """e = U^T y - S V^T x0: coordinates of what of y is not explained, zero where nothing is measured."""
    return operator.coordinates(y) - operator.singular_values * operator.to_basis(x0)


def _pulled(operator: Operator, u: Array) -> Array:
    """A^T U u = V S u: [B, *shape]."""
    return operator.from_basis(operator.singular_values * u)


# All of the table are made as (sde, operator, y, noise_std) with the same keywords, of which each takes those it has.
METHODS: dict[str, Callable[..., Conditioned]] = {
    "projection": lambda sde, operator, y, noise_std, **_: projection(sde, operator, y, noise_std),
    "ddnm": lambda sde, operator, y, noise_std, *, prior_variance, **_: ddnm(
        sde, operator, y, noise_std, prior_variance=prior_variance
    ),
    "pigdm": lambda sde, operator, y, noise_std, *, prior_variance, covariance, num_iterations, limit, **_: pigdm(
        sde,
        operator,
        y,
        noise_std,
        prior_variance=prior_variance,
        covariance=covariance,
        num_iterations=num_iterations,
        limit=limit,
    ),
    "dps": lambda sde, operator, y, noise_std, *, prior_variance, zeta, form, **_: dps(
        sde, operator, y, noise_std, prior_variance=prior_variance, zeta=zeta, form=form
    ),
}
