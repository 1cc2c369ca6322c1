"""Samplers of categories: exact distributions, known sites, the order of confidence, sharper predictions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption.categorical import Absorbing, Uniform
from corruption.predictions import Categorical
from corruption.schedules import Cosine, Polynomial
from sampling import grids
from sampling.ancestral import Ancestral
from sampling.categorical import Confidence, complete, sharpened
from sampling.loop import FixedStep
from tests.support.joint import Joint

KEY = jax.random.key(5)
TABLE = np.random.default_rng(1).dirichlet(np.full(16, 0.3)).reshape(4, 4)
NUM, STEPS = 6000, 40
PROCESSES = {
    "absorbing": Absorbing(4, Polynomial()),
    "remasking": Absorbing(4, Cosine(), remasking=0.5),
    "uniform": Uniform(4, Cosine()),
}
each = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


def sampler_of(process, stepper=Ancestral, steps=STEPS):
    return FixedStep(process, stepper(process), grids.uniform(steps, 0.0), denoise=False)


def close(found, expected, num=NUM, bias=2 / STEPS):
    """Within five standard errors, and what independent sites within a step change."""
    return np.all(np.abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / num) + bias * expected.max())


@each
def test_samples_have_the_joint_distribution_of_the_data(process):
    joint = Joint(process, TABLE)
    samples = jax.jit(lambda key: sampler_of(process)(key, joint.predict, (NUM, 2)))(KEY)
    assert samples.x.dtype == jnp.int32 and int(samples.num_evals) == STEPS
    assert int(samples.x.min()) >= 0 and int(samples.x.max()) < 4
    found, independent = joint.frequencies(samples.x), np.outer(TABLE.sum(1), TABLE.sum(0))
    assert close(found, TABLE) and not close(independent, TABLE)


@each
def test_known_sites_stay_and_condition_the_others(process):
    joint, known = Joint(process, TABLE), jnp.array([[True, False]])
    x0 = jnp.broadcast_to(jnp.array([1, 0]), (NUM, 2))
    found = jax.jit(lambda key: complete(sampler_of(process), process, key, joint.predict, x0, known))(KEY).x
    np.testing.assert_array_equal(found[:, 0], 1)
    frequencies, expected = joint.frequencies(found)[1], TABLE[1] / TABLE[1].sum()
    if process.num_states > 4:  # masks: exact
        assert close(frequencies, expected)
    else:  # noise: the known site shows itself little by little, and draws the others after it
        assert 0.5 * np.abs(frequencies - expected).sum() < 0.5 * np.abs(TABLE.sum(0) - expected).sum()


@pytest.mark.parametrize("remasking", [False, True])
def test_confidence_shows_the_sites_that_the_schedule_says_and_keeps_the_known_ones(remasking):
    process, num, size = Absorbing(3, Polynomial()), 5, 12
    stepper = Confidence(process, remasking)
    sampler = FixedStep(process, stepper, grids.uniform(4, 0.0), denoise=False)
    table = jnp.linspace(-1, 1, size)[:, None] * jnp.arange(3)[None]  # the sites at the ends are the surest

    def predict(z, t):
        return Categorical(jax.nn.log_softmax(jnp.broadcast_to(5 * table, (len(z), size, 3))))

    samples = jax.jit(lambda key: sampler(key, predict, (num, size), trajectory=4))(KEY)
    masked = np.asarray(samples.states == 3)
    np.testing.assert_array_equal(masked.sum(-1), np.array([9, 6, 3, 0])[:, None] + np.zeros((1, num), int))
    assert masked[0][:, [0, -1]].mean() < masked[0][:, 5:7].mean()
    shown_again = (masked[1:] & ~masked[:-1]).any()
    assert remasking or not shown_again
    known = jnp.arange(size)[None] < 4
    x0 = jnp.broadcast_to(jnp.arange(size) % 3, (num, size))
    done = jax.jit(lambda key: complete(sampler, process, key, predict, x0, known, trajectory=4))(KEY)
    np.testing.assert_array_equal(done.x[:, :4], x0[:, :4])
    np.testing.assert_array_equal((done.states == 3).sum(-1)[:, 0], [6, 4, 2, 0])  # of the eight unknown ones
    assert int(done.x.max()) < 3


def test_a_lower_temperature_and_top_p_leave_the_likeliest_categories():
    p = jnp.array([[[0.5, 0.3, 0.15, 0.05]]])
    predict = lambda z, t: Categorical(jnp.log(p))  # noqa: E731
    z, t = jnp.zeros((1, 1), jnp.int32), jnp.ones(1)
    probs = lambda **given: np.exp(sharpened(predict, **given)(z, t).log_probs)[0, 0]  # noqa: E731
    np.testing.assert_allclose(probs(), p[0, 0], rtol=1e-5)
    np.testing.assert_allclose(probs(temperature=0.5), p[0, 0] ** 2 / (p**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(probs(temperature=0.0), [1, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(probs(top_p=0.75), [0.625, 0.375, 0, 0], atol=1e-6)
    np.testing.assert_allclose(probs(top_p=0.85), np.array([0.5, 0.3, 0.15, 0]) / 0.95, atol=1e-6)
    np.testing.assert_allclose(probs(top_p=0.0), [1, 0, 0, 0], atol=1e-6)
    # A category that was excluded before stays so.
    sure = lambda z, t: Categorical(jnp.array([[[0.0, -1e9, -1e9]]]))  # noqa: E731
    np.testing.assert_allclose(np.exp(sharpened(sure, 2.0, 0.5)(z, t).log_probs)[0, 0], [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("stepper", [Ancestral, Confidence])
def test_a_sample_depends_on_its_own_key_only(stepper):
    process = PROCESSES["absorbing"]
    joint, sampler = Joint(process, TABLE), sampler_of(process, stepper, 5)
    keys = example_keys(KEY, 8)
    draw = jax.jit(lambda keys: sampler(keys, joint.predict, (len(keys), 2)).x)
    np.testing.assert_array_equal(draw(keys)[::-1], draw(keys[::-1]))


def test_the_grid_may_be_another_than_that_of_training():
    """One site is exact in one step; the schedule only moves the times."""
    table = np.array([0.6, 0.3, 0.1])
    for process in (Absorbing(3, Cosine()), Uniform(3, Polynomial(3.0))):
        joint, sampler = Joint(process, table), sampler_of(process, steps=1)
        x = jax.jit(lambda key, s=sampler, j=joint: s(key, j.predict, (NUM, 1)).x)(KEY)
        assert close(joint.frequencies(x), table, bias=0)
    assert dataclasses.replace(process, kernel="plug_in") != process
