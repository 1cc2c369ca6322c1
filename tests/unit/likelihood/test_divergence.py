"""Estimators of the divergence against closed forms, and log-likelihoods with each of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption.predictions import from_score
from likelihood.divergence import Exact, Hutchinson, HutchPlusPlus, exact, hutchinson, hutchpp, sample_probes
from likelihood.ode import log_likelihood
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture, correlated, jit_for_each

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
each = pytest.mark.parametrize("name", CONTINUOUS)
GAUSSIAN = correlated(4, shift=0.5)
MIXTURE = Mixture((0.3, 0.7), (GAUSSIAN, correlated(4, shift=0.8, seed=2)))
TIMES = jnp.array([0.02, 0.1, 0.3, 0.9])
NUM = 2000  # probes of each kind, for each of the four times


@functools.partial(jit_for_each, CONTINUOUS)
def gaussian_flow(sde, x):
    """The field at the four times, and by `Exact` the field again and its divergence."""
    predict = GAUSSIAN.predict(sde)

    def field(x):
        return sde.probability_flow(predict, x, TIMES)

    return field(x), Exact()(field, x)


@each
def test_exact_divergence_is_the_closed_form_of_a_gaussian(name):
    """div v = D f + g^2 / 2 sum_i 1 / (m^2 lambda_i + std^2), whatever x."""
    sde = CONTINUOUS[name]
    field, (drift, divergence) = gaussian_flow(name, jax.random.normal(jax.random.key(0), (4, 4)))
    precisions = [np.sum(1 / np.linalg.eigvalsh(GAUSSIAN.moments(sde, float(t))[1])) for t in TIMES]
    expected = 4 * sde.drift_coeff(TIMES) + 0.5 * sde.diffusion(TIMES) ** 2 * jnp.asarray(precisions, jnp.float32)
    # Two terms that cancel for VP as t goes to 1: rounding is relative to each of them.
    np.testing.assert_allclose(divergence[0], expected, rtol=3e-5, atol=3e-5 * float(np.abs(expected).max()))
    np.testing.assert_allclose(drift, field, rtol=1e-5, atol=1e-5 * float(np.abs(drift).max()))  # rounding


@functools.partial(jit_for_each, CONTINUOUS)
def mixture_flow(sde, x):
    """The exact trace, that of the full Jacobian, and the estimates [K, 4] of every kind."""
    predict = MIXTURE.predict(sde)

    def field(x):
        return sde.probability_flow(predict, x, TIMES)

    jacobian = jax.jacrev(field)(x)  # [4, D, 4, D]
    closed = jnp.einsum("bibi->b", jacobian)
    kinds = {"rademacher": jax.random.key(2), "gaussian": jax.random.key(3)}
    probes = [sample_probes(k, example_keys(key, 4 * NUM), (4 * NUM, 4)).reshape(NUM, 4, 4) for k, key in kinds.items()]
    few = [p.reshape(NUM // 2, 2, 4, 4) for p in probes]
    estimates = [Hutchinson(p)(field, x)[1] for p in probes]
    estimates.append(jax.lax.map(lambda a: HutchPlusPlus(*a)(field, x)[1].mean(0), tuple(few)))  # K = 2 at a time
    return Exact()(field, x)[1][0], closed, estimates


@each
def test_estimators_are_unbiased_within_their_standard_error(name):
    """On a mixture, whose Jacobian depends on x; the exact trace equals that of the full Jacobian."""
    trace, expected, estimates = mixture_flow(name, jax.random.normal(jax.random.key(1), (4, 4)))
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(trace, expected, rtol=1e-5, atol=1e-5 * scale)
    for found in map(np.asarray, estimates):
        error = np.std(found, axis=0) / len(found) ** 0.5
        # Four standard errors, and rounding.
        assert np.all(np.abs(found.mean(0) - np.asarray(expected)) < 4 * error + 1e-5 * scale)


def test_hutchpp_varies_less_than_hutchinson_at_equal_cost_where_few_directions_matter():
    """Jacobians a I + U diag(1 / i^2) U^T, like those of a probability flow near a manifold."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    num = 400

    @jax.jit
    def run(jacobian):
        keys, x = example_keys(jax.random.key(0), num), jnp.zeros((num, 64))
        makes = {"hutchinson": hutchinson, "hutchpp": hutchpp}
        found = {
            name: make("rademacher", keys, x.shape, 12)(lambda x: x @ jacobian, x)[1].mean(axis=0)
            for name, make in makes.items()
        }
        return {name: jnp.sqrt(jnp.mean((a - jnp.trace(jacobian)) ** 2)) for name, a in found.items()}

    for multiple in (0.0, -3.0):
        errors = run(jnp.asarray(basis * (1 / np.arange(1, 65) ** 2) @ basis.T + multiple * np.eye(64), jnp.float32))
        assert errors["hutchpp"] < 0.5 * errors["hutchinson"], (multiple, errors)


def test_hutchpp_with_as_many_directions_as_dimensions_is_exact():
    jacobian = jax.random.normal(jax.random.key(0), (4, 4))

    @jax.jit
    def run(jacobian):
        keys = example_keys(jax.random.key(1), 3)
        return hutchpp("rademacher", keys, (3, 4), 15)(lambda x: x @ jacobian, jnp.ones((3, 4)))[1]

    np.testing.assert_allclose(run(jacobian), np.full((5, 3), np.trace(jacobian)), rtol=1e-4, atol=1e-4)


def test_the_field_is_evaluated_once_for_all_probes():
    calls = []

    def field(x):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sin(x)

    x = jnp.ones((2, 6))
    for make, num in ((hutchinson, 5), (exact, 1), (hutchpp, 6)):
        calls.clear()
        run = jax.jit(lambda keys, make=make, num=num: make("gaussian", keys, x.shape, num)(field, x)[1])
        jax.block_until_ready(run(example_keys(jax.random.key(0), 2)))
        jax.effects_barrier()
        assert len(calls) == 1, make


@functools.partial(jit_for_each, CONTINUOUS)
def likelihoods(sde, x):
    """With the exact divergence, and with two estimators."""
    predict, keys = correlated(4).predict(sde), example_keys(jax.random.key(3), len(x))
    estimators = Exact(), hutchinson("rademacher", keys, x.shape, 8), hutchpp("rademacher", keys, x.shape, 6)
    return [log_likelihood(predict, sde, x, estimator) for estimator in estimators]


@each
def test_several_probes_give_the_exact_likelihood_within_their_standard_error(name):
    sde, data = CONTINUOUS[name], correlated(4)
    x = data.sample(0, (16, 4))
    exactly, *others = likelihoods(name, x)
    # The solver's tolerance of 1e-5, and a prior off by 4e-4 in variance; see test_ode.
    np.testing.assert_allclose(exactly.logp_nats, data.logp(sde, x, jnp.full(16, 1e-5)), atol=4e-3)
    assert np.all(np.isnan(exactly.standard_error_nats)) and exactly.estimates_nats.shape == (1, 16)
    for found in others:
        assert np.all(found.standard_error_nats > 0)
        errors = found.standard_error_nats, found.logp_nats - exactly.logp_nats
        claimed, actual = (np.sqrt(np.mean(np.asarray(a) ** 2)) for a in errors)
        assert 0.5 < actual / claimed < 2  # chi-squared of 16 numbers with heavy tails
        np.testing.assert_allclose(found.latent, exactly.latent, rtol=1e-3, atol=1e-3 * sde.prior_std)


def test_steps_of_its_own_make_an_example_independent_of_its_batch():
    sde, data = VP(), Gaussian(np.zeros(3), np.diag([1e-4, 1.0, 1.0]))
    predict, x = data.predict(sde), data.sample(0, (5, 3))
    keys = example_keys(jax.random.key(0), 5)
    settings = {"rtol": 1e-3, "atol": 1e-3}
    divergence = hutchinson("gaussian", keys, x.shape, 3)

    @functools.partial(jax.jit, static_argnums=2)
    def run(x, divergence, per_example):
        return log_likelihood(predict, sde, x, divergence, per_example_steps=per_example, **settings)

    alone, together = (run(x, divergence, own) for own in (True, False))
    single = run(x[3:4], jax.tree.map(lambda a: a[:, 3:4], divergence), True)
    np.testing.assert_allclose(alone.logp_nats[3:4], single.logp_nats, rtol=1e-5)
    np.testing.assert_allclose(alone.estimates_nats[:, 3:4], single.estimates_nats, rtol=1e-5, atol=1e-5)
    assert alone.estimates_nats.shape == (3, 5) and int(alone.num_evals) >= int(single.num_evals) > 6
    np.testing.assert_allclose(alone.logp_nats, together.logp_nats, atol=0.1)  # at tolerances of 1e-3


def test_invalid_requests_are_refused_in_one_sentence():
    x, keys = jnp.ones((1, 2000)), example_keys(jax.random.key(0), 1)
    with pytest.raises(ValueError, match="2000 dimensions, more than limit = 1024; use hutchinson or hutchpp"):
        log_likelihood(from_score(lambda x, t: -x, VP()), VP(), x, Exact())
    with pytest.raises(ValueError, match="num_probes = 2, but hutchpp"):
        hutchpp("gaussian", keys, x.shape, 2)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
@pytest.mark.parametrize("make", [hutchinson, hutchpp])
def test_probes_take_the_data_type_of_the_data(make, kind):
    """In double precision the estimate of a multiple of the identity is exact; float32 probes were an error."""
    with jax.enable_x64(True):
        x = jnp.ones((2, 8), jnp.float64)
        field, estimates = make(kind, example_keys(jax.random.key(0), 2), x.shape, 3)(
            lambda x: jnp.float64(1 / 3) * x, x
        )
        assert field.dtype == estimates.dtype == jnp.float64
        if kind == "rademacher" or make is hutchpp:
            np.testing.assert_allclose(estimates, 8 / 3, rtol=1e-14)
    single = jnp.ones((2, 8), jnp.float32)
    assert (
        make(kind, example_keys(jax.random.key(0), 2), single.shape, 3)(lambda x: x / 3, single)[1].dtype == jnp.float32
    )
