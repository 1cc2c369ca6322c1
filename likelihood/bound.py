"""The variational bound on the log-likelihood of the reverse-time SDE; it needs no ODE solve."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import BoundKey, draw_normal, fold_in
from corruption.gaussian import GaussianNoise
from corruption.predictions import Predict
from likelihood.decoder import decode
from sde import times
from sde.base import SDE


class Bound(NamedTuple):
    """An upper bound on the negative log-likelihood of each example, in nats, and its parts.

    nats = prior_nats + diffusion_nats + reconstruction_nats, each [B]; num_evals: predictions (int32).
    standard_error_nats [B]: of the estimate, from the differences between neighboring times; NaN for K = 1, and for
    small K somewhat too large, because neighboring times do not have quite the same mean.
    """

    nats: Array
    standard_error_nats: Array
    prior_nats: Array
    diffusion_nats: Array
    reconstruction_nats: Array
    num_evals: Array


class Estimated(Protocol):
    """An upper bound on the negative log-probability of each example, such as `Bound` or `likelihood.elbo.Elbo`."""

    @property
    def nats(self) -> Array:
        """In nats [B]."""
        ...

    @property
    def standard_error_nats(self) -> Array:
        """Of the estimate, in nats [B]."""
        ...

    @property
    def num_evals(self) -> Array:
        """Predictions."""
        ...


def variational_bound(
    predict: Predict,
    sde: SDE,
    x0: Array,
    keys: Array,
    *,
    eps: float = 1e-5,
    num_times: int = 1,
    decoded: bool = False,
    data_std: float = 0.5,
) -> Bound:
    """Bounds -log p of data `x0` [B, ...] under the reverse-time SDE, from K = `num_times` times each. Jittable.

        -log p(x0) <= E[-log prior(x_1)] + 1/2 int_eps^1 E[g^2 |score - score_q|^2 - g^2 |score_q|^2 - 2 div f] dt
                    = KL(q_1 | prior) + 1/2 int_eps^1 (g / std)^2 E|noise(x_t, t) - z|^2 dt + H(q_eps)

    q_t = N(mean_coeff x0, std^2 I), score = -noise / std, score_q = -z / std. The second line evaluates in closed form
    what can be: the terms without the model's score add up to the entropies H(q_eps) - H(q_1), because
    dH/dt = div f + g^2 E|score_q|^2 / 2. The left side is the expectation of -log p_eps(x_eps) over q_eps. With
    `decoded` it is -log p(x0), and E[-log p(x0 | x_eps)] (`likelihood.decoder`) takes the place of H(q_eps), with one
    more prediction for each time.
    For the exact score the gap of the bound is E[log p_1(x_1) - log prior(x_1)] over q_1, where p_1 is the marginal of
    the data at t = 1; it vanishes if the prior is exact.

    Times are uniform in log-SNR, where the weight of the integrand is constant, one in each of K equal strata. `keys`
    [B]: one per example, consumed. `data_std`: approximate standard deviation of the data, see `diffusion_nats`.
    Source: Song et al., "Maximum Likelihood Training of Score-Based Diffusion Models", NeurIPS 2021, theorem 3; Huang
    et al., NeurIPS 2021; the second line: Kingma et al., NeurIPS 2021.
    Errors: ValueError for keys of another shape, and for fewer than one time.
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
        diffusion = diffusion_nats(predict, sde, x0, u, z, eps=eps, data_std=data_std)
        if not decoded:
            return diffusion, entropy
        # -log p(x0 | x) = -log(p(x0 | x) / q(x | x0)) - log q(x | x0), and the mean of the last term is H(q_eps).
        return diffusion, entropy - decode(
            predict, sde, x0, draw_normal(fold_in(key, BoundKey.DECODER), x0.shape), eps=eps
        )[1]

    diffusion, reconstruction = jax.lax.map(estimate, jnp.arange(num_times))  # [K, B] each
    prior, each = GaussianNoise(sde).prior_nats(x0), diffusion + reconstruction
    error = standard_error_of_strata(each)
    parts = jnp.mean(diffusion, axis=0), jnp.mean(reconstruction, axis=0)
    num_evals = jnp.asarray(num_times * (2 if decoded else 1), jnp.int32)
    return Bound(prior + parts[0] + parts[1], error, prior, *parts, num_evals)


def of_levels(found: Estimated, shape: Sequence[int], num_times: int) -> dict[str, Array]:
    """`{"bits_per_dim" [B], "logp_nats" [B], "num_evals"}` of a bound on the probability of levels of `shape` [B, ...].

    From several times also "probe_standard_error" [B], in bits per dimension.
    """
    unit = math.prod(shape[1:]) * math.log(2)
    result = {"bits_per_dim": found.nats / unit, "logp_nats": -found.nats, "num_evals": found.num_evals}
    return result | ({"probe_standard_error": found.standard_error_nats / unit} if num_times > 1 else {})


def standard_error_of_strata(each: Array) -> Array:
    """The standard error of the mean of terms [K, B], one of each of K strata in their order: [B]; NaN for K = 1."""
    # Differences of neighboring strata, which have nearly the same mean (von Neumann 1941); 0 / 0 for one time.
    num_times = len(each)
    squares = jnp.sum(jnp.diff(each, axis=0) ** 2, axis=0)
    return jnp.sqrt(squares / (2 * num_times * jnp.asarray(num_times - 1.0)))


def diffusion_nats(predict: Predict, sde: SDE, x0: Array, u: Array, z: Array, *, eps: float, data_std: float) -> Array:
    """The integral over time in the bound, estimated from one time and one noise sample per example: [B].

    1/2 int_eps^1 (g / std)^2 E[ |noise(x_t, t) - z|^2 - c(t) (|z|^2 - D) ] dt,   c = (1 + std^2 / (m s)^2)^-2

    Data `x0` and Gaussian noise `z` [B, ...]; `u` [B] in [0, 1) is the quantile of the times uniform in log-SNR.
    m = mean_coeff, s = `data_std`. The subtracted term, a control variate, has mean zero for every c; this c removes
    |z|^2 from the integrand for Gaussian data with mean zero and standard deviation s.
    """
    axes = tuple(range(1, x0.ndim))
    t, importance = times.log_snr(sde, eps)(u)
    std, signal = sde.std(t), sde.mean_coeff(t) * data_std
    error = predict(sde.perturb(x0, t, z), t).noise - z
    control = (signal**2 / (signal**2 + std**2)) ** 2
    excess = jnp.sum(z**2, axis=axes) - math.prod(x0.shape[1:])
    weight = (1 - eps) * importance * (sde.diffusion(t) / std) ** 2
    return 0.5 * weight * (jnp.sum(error**2, axis=axes) - control * excess)


def entropy_nats(num_dims: int, std: Array) -> Array:
    """Differential entropy of `N(., std^2 I)` over D dimensions: `D / 2 ln(2 pi e std^2)`, in nats."""
    return 0.5 * num_dims * (math.log(2 * math.pi * math.e) + 2 * jnp.log(std))
