"""Categorical noise on sites that can be enumerated: exact kernels, samples and bounds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption import terms
from corruption.categorical import Absorbing, Uniform
from corruption.predictions import Categorical
from corruption.schedules import Cosine, Polynomial, uniform_noise
from tests.support.joint import Joint

K = 4
ONE = np.array([0.7, 0.2, 0.08, 0.02])
TWO = np.random.default_rng(1).dirichlet(np.full(K * K, 0.3)).reshape(K, K)
THREE = np.random.default_rng(2).dirichlet(np.full(27, 0.5)).reshape(3, 3, 3)
SCHEDULES = {"linear": Polynomial(), "cosine": Cosine(), "quadratic": Polynomial(2.0)}
PROCESSES = {"uniform": Uniform, "absorbing": Absorbing}
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
each = pytest.mark.parametrize("make", PROCESSES.values(), ids=PROCESSES)


def states_of(num, size):
    """Every sequence of `size` of `num` states, [num^size, size]."""
    return np.array(list(itertools.product(range(num), repeat=size)))


def kernel(process, t):
    """q(z_t | x0) of a site, [K, S]."""
    noise, num = float(process.schedule.noise(jnp.float32(t))), process.num_states
    pi = np.full(num, 1 / num) if num == process.num_categories else np.eye(num)[-1]
    return (1 - noise) * np.eye(process.num_categories, num) + noise * pi


def exact(process, table, t):
    """The joint distribution of z_t and the exact prediction at every z: [S^D] and log_probs [S^D, D, K]."""
    size, num = table.ndim, process.num_categories
    q, z, x0 = kernel(process, t), states_of(process.num_states, size), states_of(num, size)
    joint = table.ravel()[None] * np.prod([q[x0[:, d]][:, z[:, d]].T for d in range(size)], axis=0)  # [S^D, K^D]
    marginal = joint.sum(1)
    sites = np.stack([np.eye(num)[x0[:, d]] for d in range(size)], axis=1)
    posterior = np.einsum("zx,xdk->zdk", joint / np.maximum(marginal, 1e-300)[:, None], sites)
    return marginal, jnp.log(jnp.maximum(jnp.asarray(posterior, jnp.float32), 1e-37))


def generated(process, table, num_steps):
    """The distribution [K^D] of ancestral samples with exact predictions, in `num_steps` steps."""
    size, num = table.ndim, process.num_states
    z, times = states_of(num, size), np.linspace(1, 0, num_steps + 1)
    p = np.prod([kernel(process, 1.0)[0][z[:, d]] for d in range(size)], axis=0)
    reverse = jax.jit(lambda log_probs, t, s: process.reverse_probs(Categorical(log_probs), jnp.asarray(z), t, s))
    ones = np.ones(len(z), np.float32)
    for t, t_next in itertools.pairwise(times):
        sites = np.asarray(reverse(exact(process, table, t)[1], ones * t, ones * t_next), np.float64)
        sites /= sites.sum(-1, keepdims=True)  # of float32
        p = p @ np.prod([sites[:, d][:, z[:, d]] for d in range(size)], axis=0)
    return p.reshape((num,) * size)[tuple(slice(process.num_categories) for _ in range(size))]


def distance(a, b):
    return 0.5 * np.abs(a - b).sum() + 0.5 * abs(1 - a.sum())


@each
@each_schedule
@pytest.mark.parametrize("num_steps", [1, 2, 5, 50])
def test_one_site_has_the_distribution_of_the_data_for_any_number_of_steps(make, schedule, num_steps):
    assert distance(generated(make(K, schedule), ONE, num_steps), ONE) < 1e-6


@pytest.mark.parametrize("num_steps", [5, 100])
def test_the_plug_in_kernel_has_another_distribution_and_more_steps_do_not_help(num_steps):
    error = distance(generated(Uniform(K, Cosine(), kernel="plug_in"), ONE, num_steps), ONE)
    assert 0.15 <= error <= 0.21, error


@each
@each_schedule
def test_two_correlated_sites_approach_the_data_with_the_steps(make, schedule):
    independent = np.outer(TWO.sum(1), TWO.sum(0))
    errors = [distance(generated(make(K, schedule), TWO, T), TWO) for T in (5, 20, 100)]
    assert distance(independent, TWO) > errors[0] > errors[1] > errors[2] and errors[2] < 0.02, errors


def bound_on_grid(process, table, num_steps):
    """The bound of every x0 on a grid, summed over all states: [K^D]."""
    return summed(process, table, [((k + 1) / num_steps, k / num_steps, 1.0) for k in range(num_steps)])


def bound_in_continuous_time(process, table, num=40):
    """The integral of the rates over the noise v^4, by Gauss's rule in v, summed over all states: [K^D]."""
    nodes, weights = np.polynomial.legendre.leggauss(num)
    v = (nodes + 1) / 2
    t, per_noise = uniform_noise(process.schedule)(jnp.asarray(v**4, jnp.float32))
    return summed(
        process, table, list(zip(np.asarray(t), v * 0, weights / 2 * 4 * v**3 * per_noise, strict=True)), True
    )


def summed(process, table, times, continuous=False):
    """The sum over (t, t_next, weight) of the weighted expectation of the terms, for every x0: [K^D]."""
    size = table.ndim
    x0, z = states_of(process.num_categories, size), states_of(process.num_states, size)
    pairs = jnp.asarray(np.repeat(x0, len(z), axis=0)), jnp.asarray(np.tile(z, (len(x0), 1)))

    @jax.jit
    def terms_of(log_probs, t, t_next):
        prediction = Categorical(jnp.tile(log_probs, (len(x0), 1, 1)))
        t, t_next = (jnp.full(len(pairs[0]), a, jnp.float32) for a in (t, t_next))
        if continuous:
            return process.rate_nats(prediction, *pairs, t)
        return process.step_nats(prediction, *pairs, t, t_next)

    total = np.zeros(len(x0))
    for t, t_next, weight in times:
        q = kernel(process, float(t))
        probability = np.prod([q[x0[:, d]][:, z[:, d]] for d in range(size)], axis=0)  # [K^D, S^D]
        nats = np.asarray(terms_of(exact(process, table, float(t))[1], t, t_next)).reshape(len(x0), len(z))
        total += float(weight) * (probability * np.where(probability > 0, nats, 0)).sum(1)
    return total


@each
def test_the_bound_holds_tightens_with_the_steps_and_has_the_continuous_one_as_its_limit(make):
    process, p = make(3, Polynomial()), THREE.ravel()
    entropy, gaps = -(p * np.log(p)).sum(), []
    for num_steps in (3, 12, 48):
        bound, own = bound_on_grid(process, THREE, num_steps), generated(process, THREE, num_steps).ravel()
        assert (bound >= -np.log(own) - 1e-5).all()  # of the model with these steps, for every x0
        gaps.append((p * bound).sum() - entropy)
    limit = (p * bound_in_continuous_time(process, THREE)).sum() - entropy
    # Exact predictions: nothing is lost in the limit, and the gap of a grid falls with the length of its steps.
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0 and abs(limit) < 1e-3, (gaps, limit)


def test_the_continuous_bound_of_an_absorbing_process_is_exact_for_exact_predictions():
    """The order in which sites are shown does not matter to an exact model: the integral is -log p itself."""
    bound = bound_in_continuous_time(Absorbing(3, Polynomial()), THREE)
    np.testing.assert_allclose(bound, -np.log(THREE.ravel()), atol=1e-4)


@each
def test_random_terms_have_the_mean_of_the_sum(make):
    process, num = make(3, Cosine()), 20_000
    x0 = jnp.broadcast_to(jnp.array([0, 2, 1]), (num, 3))
    which = np.ravel_multi_index((0, 2, 1), THREE.shape)
    keys, u = example_keys(jax.random.key(0), num), (jnp.arange(num) + 0.5) / num

    predict = Joint(process, THREE).predict
    of = {
        "grid": (terms.discrete(process, np.linspace(0, 1, 6)), bound_on_grid(process, THREE, 5)[which]),
        "continuous": (
            terms.continuous(process, uniform_noise(process.schedule)),
            bound_in_continuous_time(process, THREE)[which],
        ),
    }
    for name, (term, expected) in of.items():
        found = np.asarray(jax.jit(lambda keys, u, term=term: term(predict, keys, x0, u))(keys, u))
        error = found.std() / np.sqrt(num)
        assert abs(found.mean() - expected) < 5 * error and error < 0.1 * expected, (name, found.mean(), expected)


@each
def test_corruption_has_the_enumerated_kernel(make):
    process, num = make(K, Cosine()), 8000
    x0, t = jnp.ones((num, 2), jnp.int32), jnp.full(num, 0.4)
    z, target = process.corrupt(example_keys(jax.random.key(1), num), x0, t)
    expected = kernel(process, 0.4)[1]
    found = np.bincount(np.asarray(z).ravel(), minlength=process.num_states) / (2 * num)
    np.testing.assert_allclose(found, expected, atol=5 * 0.5 / np.sqrt(2 * num))
    np.testing.assert_array_equal(target, x0)


def test_a_network_is_told_how_many_sites_are_masked_and_otherwise_the_time():
    z, t = jnp.array([[K, 0, K, K], [1, 2, 3, 0]]), jnp.array([0.5, 0.5])
    np.testing.assert_allclose(Absorbing(K, Polynomial(2.0)).lost(z, t), [0.75, 0.0])
    np.testing.assert_allclose(Uniform(K, Polynomial(2.0)).lost(z, t), [0.25, 0.25], rtol=1e-6)


def test_remasking_keeps_the_marginals():
    """The marginal at t_next is q(z_s | x0) for any share, and zero of the sites is masked at the data."""
    for share in (0.0, 0.5, 1.0):
        process = Absorbing(K, Cosine(), remasking=share)
        for t, t_next in ((1.0, 0.7), (0.7, 0.3), (0.3, 0.0)):
            q, z = kernel(process, t), jnp.arange(K + 1)[:, None]
            sure = Categorical(jnp.broadcast_to(jnp.where(jnp.arange(K) == 2, 0.0, -1e9), (K + 1, 1, K)))
            move = process.reverse_probs(sure, z, jnp.full(K + 1, t), jnp.full(K + 1, t_next))[:, 0]
            # Only states that q(z_t | x0 = 2) has: 2 and the mask.
            np.testing.assert_allclose(q[2] @ np.asarray(move), kernel(process, t_next)[2], atol=1e-6)


@each_schedule
def test_a_schedule_is_its_inverse_its_slope_and_ends_at_the_prior(schedule):
    t = jnp.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(schedule.time(schedule.noise(t)), t, rtol=1e-4)
    np.testing.assert_allclose(schedule.kept(t) + schedule.noise(t), 1, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(schedule.noise))(t), schedule.slope(t), rtol=1e-4)
    ends = jnp.array([0.0, 1.0])
    np.testing.assert_array_equal(schedule.noise(ends), ends)
    np.testing.assert_allclose(schedule.kept(ends), 1 - ends, atol=1e-12)


@each
def test_what_a_site_tells_of_itself_is_bayes_rule(make):
    process = make(K, Polynomial())
    t, z = 0.3, np.arange(process.num_states)
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(ONE, jnp.float32)), (len(z), 1, K))
    found = process.posterior(logits, jnp.asarray(z)[:, None], jnp.full(len(z), t))
    joint = ONE[:, None] * kernel(process, t)
    np.testing.assert_allclose(np.exp(found.log_probs)[:, 0], (joint / joint.sum(0)).T, atol=1e-6)
