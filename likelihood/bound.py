"""The variational bound on the log-likelihood of the reverse-time SDE, without solving anything."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import BoundKey, draw_normal, fold_in
from likelihood.decoder import decode
from sde import times
from sde.base import SDE, ScoreFn


class Bound(NamedTuple):
    """An upper bound on the negative log-likelihood of each example, in nats, and the parts it is made of.

    nats = prior_nats + diffusion_nats + reconstruction_nats, each [B]; num_evals: evaluations of the score (int32).
    standard_error_nats [B]: of the estimate, from the differences between neighbouring times; NaN for K = 1, and for a
    small K on the large side, as neighbours are not quite alike.
    """

    nats: Array
    standard_error_nats: Array
    prior_nats: Array
    diffusion_nats: Array
    reconstruction_nats: Array
    num_evals: Array


def variational_bound(
    score_fn: ScoreFn,
    sde: SDE,
    x0: Array,
    keys: Array,
    *,
    eps: float = 1e-5,
    num_times: int = 1,
    decoded: bool = False,
    data_std: float = 0.5,
) -> Bound:
    """Bounds -log p of data `x0` [B, ...] under the SDE that samples, from K = `num_times` times each. Jittable.

        -log p(x0) <= E[-log prior(x_1)] + 1/2 int_eps^1 E[g^2 |score - score_q|^2 - g^2 |score_q|^2 - 2 div f] dt
                    = KL(q_1 | prior) + 1/2 int_eps^1 (g / std)^2 E|std score(x_t, t) + z|^2 dt + H(q_eps)

    q_t = N(mean_coeff x0, std^2 I), score_q = -z / std. The second line has all that is known in closed form: the two
    terms without the model's score amount to the entropies H(q_eps) - H(q_1), as dH/dt = div f + g^2 E|score_q|^2 / 2.
    The left side is the expectation of -log p_eps(x_eps) over q_eps; with `decoded` it is -log p(x0), for which
    H(q_eps) gives way to E[-log p(x0 | x_eps)] (`likelihood.decoder`), at one more evaluation for each time.
    With the score of the data the bound is above that by E[log p_1(x_1) - log prior(x_1)] over q_1 alone, where p_1 is
    the marginal of the data at 1: nothing, if the prior is right.

    Times are uniform in log-SNR, for which the integrand's weight is constant, one in each of K equal strata; `keys`
    [B]: one for each example, consumed. `data_std` is about the deviation of the data, see `diffusion_nats`.
    Source: Song et al., "Maximum Likelihood Training of Score-Based Diffusion Models", NeurIPS 2021, theorem 3; Huang
    et al., NeurIPS 2021; the second line: Kingma et al., NeurIPS 2021.
    Errors: ValueError for keys of another shape and for fewer than one time.
    """
    if keys.shape != x0.shape[:1] or num_times < 1:
        raise ValueError(
            f"keys has shape {keys.shape} and num_times is {num_times}, but there are {x0.shape[0]} examples: give one "
            "key each, and at least one time."
        )
    entropy = entropy_nats(math.prod(x0.shape[1:]), sde.std(jnp.full(x0.shape[:1], eps)))

    def estimate(k: Array) -> tuple[Array, Array]:
        key = fold_in(keys, k)
        u = (k + jax.vmap(lambda key: jax.random.uniform(key, ()))(fold_in(key, BoundKey.TIME))) / num_times
        z = draw_normal(fold_in(key, BoundKey.NOISE), x0.shape)
        diffusion = diffusion_nats(score_fn, sde, x0, u, z, eps=eps, data_std=data_std)
        if not decoded:
            return diffusion, entropy
        # -log p(x0 | x) = -log(p(x0 | x) / q(x | x0)) - log q(x | x0), and the last has the mean H(q_eps).
        return diffusion, entropy - decode(
            score_fn, sde, x0, draw_normal(fold_in(key, BoundKey.DECODER), x0.shape), eps=eps
        )[1]

    diffusion, reconstruction = jax.lax.map(estimate, jnp.arange(num_times))  # [K, B] each
    prior, each = prior_nats(sde, x0), diffusion + reconstruction
    # Differences of neighbouring strata, which have nearly the same mean (von Neumann 1941); 0 / 0 for one time.
    squares = jnp.sum(jnp.diff(each, axis=0) ** 2, axis=0)
    error = jnp.sqrt(squares / (2 * num_times * jnp.asarray(num_times - 1.0)))
    parts = jnp.mean(diffusion, axis=0), jnp.mean(reconstruction, axis=0)
    num_evals = jnp.asarray(num_times * (2 if decoded else 1), jnp.int32)
    return Bound(prior + parts[0] + parts[1], error, prior, *parts, num_evals)


def diffusion_nats(score_fn: ScoreFn, sde: SDE, x0: Array, u: Array, z: Array, *, eps: float, data_std: float) -> Array:
    """The bound's integral over time, estimated at one time and noise for each example: [B].

    1/2 int_eps^1 (g / std)^2 E[ |std score(x_t, t) + z|^2 - c(t) (|z|^2 - D) ] dt,   c = (1 + std^2 / (m s)^2)^-2

    Data `x0` and Gaussian noise `z` [B, ...]; `u` [B] in [0, 1) says which quantile of the times uniform in log-SNR.
    m = mean_coeff, s = `data_std`. The subtracted term has mean zero for every c; this one leaves nothing of |z|^2 in
    the integrand for Gaussian data of mean zero and deviation s.
    """
    axes = tuple(range(1, x0.ndim))
    t, importance = times.log_snr(sde, eps)(u)
    std, signal = sde.std(t), sde.mean_coeff(t) * data_std
    error = broadcast_to_rank(std, x0) * score_fn(sde.perturb(x0, t, z), t) + z
    control = (signal**2 / (signal**2 + std**2)) ** 2
    excess = jnp.sum(z**2, axis=axes) - math.prod(x0.shape[1:])
    weight = (1 - eps) * importance * (sde.diffusion(t) / std) ** 2
    return 0.5 * weight * (jnp.sum(error**2, axis=axes) - control * excess)


def entropy_nats(num_dims: int, std: Array) -> Array:
    """Differential entropy of `N(., std^2 I)` over D dimensions: `D / 2 ln(2 pi e std^2)`, in nats."""
    return 0.5 * num_dims * (math.log(2 * math.pi * math.e) + 2 * jnp.log(std))


def prior_nats(sde: SDE, x0: Array) -> Array:
    """`KL(q_1 | prior)` in nats [B]: what is left at t = 1 of the data `x0` [B, ...]."""
    t = jnp.ones(x0.shape[:1])
    m, variance = sde.mean_coeff(t), sde.std(t) ** 2
    ratio = variance / sde.prior_std**2
    squares = m**2 * jnp.sum(x0**2, axis=tuple(range(1, x0.ndim))) / sde.prior_std**2
    return 0.5 * (squares + math.prod(x0.shape[1:]) * (ratio - 1 - jnp.log(ratio)))
