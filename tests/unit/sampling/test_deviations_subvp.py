"""Reverse diffusion of the sub-VP SDE: the published step is Euler-Maruyama's, this one the SDE's own transition."""

import jax.numpy as jnp
import numpy as np
import pytest

from core.arrays import broadcast_to_rank
from corruption.predictions import from_score
from sampling.steps import table
from sde.subvp import SubVP

BETA_MIN, BETA_MAX = 0.1, 20.0


def exact_transition(s, t):
    """(scale, std) of x_t given x_s in float64: mean_coeff = exp(L), std = 1 - exp(2 L), L = -int_0^t beta / 2."""
    log_s, log_t = (-0.25 * u**2 * (BETA_MAX - BETA_MIN) - 0.5 * u * BETA_MIN for u in (s, t))
    scale = np.exp(log_t - log_s)
    return scale, np.sqrt(np.expm1(2 * log_t) ** 2 - (scale * np.expm1(2 * log_s)) ** 2)


def published_step(sde, score_fn, z, x, t, dt):
    """x - f + G^2 score + G z with f = drift dt and G = diffusion sqrt(dt)."""
    f, G = sde.drift_coeff(t) * dt, sde.diffusion(t) * jnp.sqrt(dt)
    f, G = broadcast_to_rank(f, x), broadcast_to_rank(G, x)
    return x - f * x + G**2 * score_fn(x, t) + G * z


@pytest.mark.parametrize("dt", [0.02, 0.2])
def test_reverse_diffusion_of_subvp_is_the_transition_and_not_the_published_step(dt):
    rng, sde = np.random.default_rng(0), SubVP(BETA_MIN, BETA_MAX)
    x, z = (jnp.asarray(rng.standard_normal((3, 4)), jnp.float32) for _ in range(2))
    t = jnp.array([0.3, 0.6, 0.9])

    def score_fn(x, t):
        return -x / broadcast_to_rank(1 + t, x)

    sample = table.reverse_diffusion()(z, from_score(score_fn, sde), sde, x, t, t - dt)
    scale, std = (a[:, None] for a in exact_transition(np.float64(t) - dt, np.float64(t)))
    expected = x - (scale - 1) * x + std**2 * score_fn(x, t) + std * z
    np.testing.assert_allclose(sample.x, expected, rtol=1e-5, atol=1e-5)  # a difference of squares in float32
    # The two agree to first order in beta dt, which is between 0.12 and 3.6 here.
    assert float(jnp.max(jnp.abs(sample.x - published_step(sde, score_fn, z, x, t, dt)))) > 1e-2
