"""Ancestral sampling by a process's own reverse step, in the same loop for noise and for categories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from corruption.gaussian import GaussianNoise
from sampling import grids
from sampling.ancestral import Ancestral
from sampling.base import Sample
from sampling.loop import FixedStep
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.none import none
from sde.vp import VP
from tests.support.categorical import Absorbing, JointTable
from tests.support.oracles import correlated

KEY = jax.random.key(3)
DATA = JointTable(np.random.default_rng(0).dirichlet(np.ones(25)).reshape(5, 5))
STEPS = 50
SAMPLER = FixedStep(Absorbing(5), Ancestral(Absorbing(5)), grids.uniform(STEPS, 0.0), denoise=False)


def frequencies(x):
    return np.bincount(5 * np.asarray(x[:, 0]) + np.asarray(x[:, 1]), minlength=25) / len(x)


def test_tokens_are_sampled_with_the_joint_distribution_of_the_data():
    """Unmasked one after another, except for two at once, independently, with probability 1 / 50."""
    num = 8000
    samples = jax.jit(lambda key: SAMPLER(key, DATA.predict, (num, 2), trajectory=2))(KEY)
    assert samples.x.dtype == jnp.int32 and int(samples.x.max()) < 5
    assert int(samples.num_evals) == STEPS
    np.testing.assert_array_equal(samples.states[-1], samples.x)
    halfway = float(jnp.mean(samples.states[0] == 5))  # the time is 1 / 2
    assert halfway == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(2 * num))
    expected = DATA.table.ravel()
    error = 5 * np.sqrt(expected * (1 - expected) / num)
    np.testing.assert_array_less(np.abs(frequencies(samples.x) - expected), error + 1 / STEPS * expected.max())
    independent = np.outer(DATA.table.sum(axis=1), DATA.table.sum(axis=0)).ravel()
    assert np.abs(independent - expected).max() > 3 * error.max()  # what independent tokens would have


def test_known_tokens_and_a_start_condition_the_others():
    def constrain(keys, sample, t):
        x = sample.x.at[:, 0].set(2)
        return Sample(x, x)

    num = 4000
    start = jnp.full((num, 2), 5, jnp.int32).at[:, 0].set(2)
    draw = jax.jit(lambda key: SAMPLER(key, DATA.predict, (num, 2), start=(start, 0.75), constrain=constrain))
    samples = draw(KEY)
    assert int(samples.num_evals) == sum(t < 0.75 for t in SAMPLER.times)
    expected = DATA.table[2] / DATA.table[2].sum()
    found = np.bincount(np.asarray(samples.x[:, 1]), minlength=5) / num
    np.testing.assert_array_less(np.abs(found - expected), 5 * np.sqrt(expected * (1 - expected) / num))
    np.testing.assert_array_equal(samples.x[:, 0], 2)


def test_a_sequence_depends_on_its_own_key_only():
    draw = jax.jit(lambda key, num: SAMPLER(key, DATA.predict, (num, 2)).x, static_argnums=1)
    np.testing.assert_array_equal(draw(KEY, 3), draw(KEY, 16)[:3])


def test_the_reverse_step_of_gaussian_noise_is_the_predictor_of_that_name():
    sde, times, data = VP(), grids.uniform(20, 1e-3), correlated(4, shift=0.5)
    own = FixedStep(GaussianNoise(sde), Ancestral(GaussianNoise(sde)), times)
    run = jax.jit(lambda key: [s(key, data.predict(sde), (5, 4)).x for s in (own, pc(sde, ancestral(), none(), times))])
    np.testing.assert_allclose(*run(KEY), rtol=1e-6)
