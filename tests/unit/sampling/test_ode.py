"""The probability-flow sampler against the solution of its ODE on Gaussian data, and its counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.arrays import broadcast_to_rank
from corruption.predictions import from_score
from sampling.base import Sample
from sampling.ode import ProbabilityFlow
from sde.flow import SOLVERS
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Mixture, correlated, jit_for_each
from tests.support.tracing import CountingJit

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "linear": Linear()}
each = pytest.mark.parametrize("name", CONTINUOUS)
DATA = correlated(4, shift=0.5)
KEY = jax.random.key(3)


def root(cov):
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values) @ vectors.T


@functools.partial(jit_for_each, CONTINUOUS)
def solution(sde, x):
    return ProbabilityFlow(sde, eps=1e-3, denoise=False)(KEY, DATA.predict(sde), x.shape, start=(x, 1.0)).x


@each
def test_the_solution_maps_one_gaussian_to_the_other(name):
    """x(eps) = E_eps + S_eps^(1/2) S_1^(-1/2) (x(1) - E_1): mean and covariance of the data, point by point."""
    sde = CONTINUOUS[name]
    x = sde.prior_sample(KEY, (16, 2, 2, 1))
    found = solution(name, x)
    (mean_1, cov_1), (mean, cov) = DATA.moments(sde, 1.0), DATA.moments(sde, 1e-3)
    whitened = (np.asarray(x).reshape(16, 4) - mean_1) @ np.linalg.inv(root(cov_1))
    # rtol = atol = 1e-5 for each of some ten steps; float32 rounding of a score times a diffusion of 20 near eps.
    np.testing.assert_allclose(found.reshape(16, 4), mean + whitened @ root(cov), atol=5e-4)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("name", "denoise", "per_example"), [("vp", True, False), ("ve", False, True)])
def test_evaluations_are_counted_with_rejected_steps(name, denoise, per_example, solver):
    calls, sde = [], CONTINUOUS[name]
    parts = correlated(4, spread=0.1, shift=1.0), correlated(4, spread=0.1, shift=-1.0)
    predict = Mixture((0.5, 0.5), parts).predict(sde)

    def counting(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return predict(x, t)

    sampler = ProbabilityFlow(sde, rtol=1e-5, atol=1e-5, denoise=denoise, solver=solver, per_example=per_example)
    samples = jax.jit(lambda key: sampler(key, counting, (4, 4)))(KEY)
    jax.block_until_ready(samples)
    jax.effects_barrier()
    assert int(samples.num_evals) == len(calls) > 60
    assert samples.num_evals.dtype == jnp.int32
    assert np.all(np.isfinite(samples.x))


def test_another_key_and_another_prediction_do_not_recompile():
    sampler = ProbabilityFlow(VP())
    draw = CountingJit(lambda key, scale: sampler(key, from_score(lambda x, t: -scale * x, VP()), (2, 4)))
    first, second = draw(KEY, 1.0).x, draw(jax.random.key(1), 1.1).x
    assert draw.num_traces == 1
    assert np.all(np.abs(first - second) > 0)


def test_a_start_continues_a_solution():
    sde = VP()
    predict = DATA.predict(sde)

    @jax.jit
    def run():
        middle = ProbabilityFlow(sde, eps=0.4)(KEY, predict, (4, 4)).x
        rest = ProbabilityFlow(sde)(KEY, predict, (4, 4), start=(middle, 0.4)).x
        return rest, ProbabilityFlow(sde)(KEY, predict, (4, 4)).x

    rest, whole = run()
    np.testing.assert_allclose(rest, whole, atol=2e-4)  # two solves, each within its tolerance of 1e-5 per step


def test_a_failed_solve_is_not_a_number():
    blown_up = from_score(lambda x, t: jnp.where(broadcast_to_rank(t, x) < 0.5, jnp.nan, -x), VP())

    @jax.jit
    def run():
        few = ProbabilityFlow(VP(), max_steps=3, denoise=True)(KEY, DATA.predict(VP()), (2, 4))
        return few, ProbabilityFlow(VP())(KEY, blown_up, (2, 4))

    few, broken = run()
    assert np.all(np.isnan(few.x)) and int(few.num_evals) == 6 * 3 + 2
    assert np.all(np.isnan(broken.x))
    assert int(broken.num_evals) < 600  # it gives up when the steps vanish, not when it has used them all


@pytest.mark.parametrize("num_dims", [(4,), (2, 2, 1)])
def test_steps_of_its_own_make_an_example_independent_of_its_batch(num_dims):
    """Up to rounding, while shared steps agree only to the tolerances; also if a prediction depends on the batch."""
    sde, label = VE(), jnp.arange(64.0)
    predict = DATA.predict(sde)

    def draw(num, per_example, rate):
        def labeled(x, t):  # closes over an array with one entry per example, as a class-conditional one does
            return predict(x - broadcast_to_rank(rate * label[:num], x), t)

        return ProbabilityFlow(sde, rtol=1e-3, atol=1e-3, per_example=per_example)(KEY, labeled, (num, *num_dims)).x

    draw = CountingJit(draw, static_argnums=(0, 1))
    whole = draw(64, True, 0.01)
    for num in (1, 7):
        np.testing.assert_allclose(draw(num, True, 0.01), whole[:num], rtol=1e-5, atol=1e-5)
    assert np.abs(draw(7, False, 0.01) - whole[:7]).max() > 1e-5
    assert draw(7, True, 0.02).shape == (7, *num_dims)
    assert draw.num_traces == 4


@pytest.mark.parametrize("per_example", [False, True])
def test_intermediate_states_are_returned_on_request(per_example):
    sde, options = VP(), {"rtol": 1e-6, "atol": 1e-6, "per_example": per_example}
    predict = DATA.predict(sde)

    @jax.jit
    def run():
        whole = ProbabilityFlow(sde, denoise=True, **options)(KEY, predict, (3, 4), trajectory=3)
        return whole, ProbabilityFlow(sde, eps=1 - 0.999 / 3, **options)(KEY, predict, (3, 4))

    whole, middle = run()
    assert whole.states.shape == (3, 3, 4)
    np.testing.assert_array_equal(whole.states[-1], whole.x)
    np.testing.assert_allclose(whole.states[0], middle.x, atol=2e-4)  # interpolated to fourth order
    assert middle.states is None


def test_a_constraint_is_refused():
    with pytest.raises(ValueError, match="supports no constraint"):
        ProbabilityFlow(VP())(KEY, DATA.predict(VP()), (2, 4), constrain=lambda keys, sample, t: Sample(*sample))
