"""The probability-flow sampler against the solution of its ODE on Gaussian data, and its counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sampling.base import Sample
from sampling.ode import ProbabilityFlow
from sde.base import expand
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.oracles import Mixture, correlated

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
each = pytest.mark.parametrize("name", CONTINUOUS)
DATA = correlated(4, shift=0.5)
KEY = jax.random.key(3)


def root(cov):
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values) @ vectors.T


@each
def test_the_solution_carries_one_gaussian_into_the_other(name):
    """x(eps) = E_eps + S_eps^(1/2) S_1^(-1/2) (x(1) - E_1): mean and covariance of the data are met, point by point."""
    sde = CONTINUOUS[name]
    sampler = ProbabilityFlow(sde, eps=1e-3, denoise=False)
    x = sde.prior_sample(KEY, (16, 2, 2, 1))
    found = jax.jit(lambda x: sampler(KEY, DATA.score_fn(sde), x.shape, start=(x, 1.0)).x)(x)
    (mean_1, cov_1), (mean, cov) = DATA.moments(sde, 1.0), DATA.moments(sde, 1e-3)
    whitened = (np.asarray(x).reshape(16, 4) - mean_1) @ np.linalg.inv(root(cov_1))
    # rtol = atol = 1e-5 for each of some ten steps; float32 rounding of a score times a diffusion of 20 near eps.
    np.testing.assert_allclose(found.reshape(16, 4), mean + whitened @ root(cov), atol=5e-4)


@pytest.mark.parametrize(("name", "denoise"), [("vp", True), ("ve", False)])
def test_evaluations_are_counted_with_rejected_steps(name, denoise):
    calls, sde = [], CONTINUOUS[name]
    parts = correlated(4, spread=0.1, shift=1.0), correlated(4, spread=0.1, shift=-1.0)
    score = Mixture((0.5, 0.5), parts).score_fn(sde)

    def counting(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return score(x, t)

    sampler = ProbabilityFlow(sde, rtol=1e-4, atol=1e-4, denoise=denoise)
    samples = jax.jit(lambda key: sampler(key, counting, (4, 4)))(KEY)
    jax.block_until_ready(samples)
    jax.effects_barrier()
    assert int(samples.num_evals) == len(calls) > 60
    assert samples.num_evals.dtype == jnp.int32
    assert np.all(np.isfinite(samples.x))


def test_another_key_and_another_score_do_not_recompile():
    sampler = ProbabilityFlow(VP())
    draw = jax.jit(lambda key, scale: sampler(key, lambda x, t: -scale * x, (2, 4)))
    first, second = draw(KEY, 1.0).x, draw(jax.random.key(1), 1.1).x
    assert draw._cache_size() == 1
    assert np.all(np.abs(first - second) > 0)


def test_a_start_takes_up_the_solution_where_it_was_left():
    sde = VP()
    score_fn = DATA.score_fn(sde)
    whole = ProbabilityFlow(sde)(KEY, score_fn, (4, 4)).x
    middle = ProbabilityFlow(sde, eps=0.4)(KEY, score_fn, (4, 4)).x
    rest = ProbabilityFlow(sde)(KEY, score_fn, (4, 4), start=(middle, 0.4)).x
    np.testing.assert_allclose(rest, whole, atol=2e-4)  # two solves, each within its tolerance of 1e-5 per step


def test_a_failed_solve_is_not_a_number():
    def blown_up(x, t):
        return jnp.where(expand(t, x) < 0.5, jnp.nan, -x)

    few = ProbabilityFlow(VP(), max_steps=3, denoise=True)(KEY, DATA.score_fn(VP()), (2, 4))
    assert np.all(np.isnan(few.x)) and int(few.num_evals) == 6 * 3 + 2
    broken = ProbabilityFlow(VP())(KEY, blown_up, (2, 4))
    assert np.all(np.isnan(broken.x))
    assert int(broken.num_evals) < 600  # it gives up when the steps vanish, not when it has used them all


def test_a_constraint_is_refused():
    with pytest.raises(ValueError, match="takes no constraint"):
        ProbabilityFlow(VP())(KEY, DATA.score_fn(VP()), (2, 4), constrain=lambda z, sample, t: Sample(*sample))
