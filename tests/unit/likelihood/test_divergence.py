"""Estimators of the divergence against closed forms, and log-likelihoods with each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from likelihood.divergence import Exact, Hutchinson, HutchPlusPlus, exact, hutchinson, hutchpp, sample_probes
from likelihood.ode import log_likelihood
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture, correlated

pytestmark = pytest.mark.slow  # together a minute and a half; `make test` runs them

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
each = pytest.mark.parametrize("name", CONTINUOUS)
MIXTURE = Mixture((0.3, 0.7), (correlated(6, shift=0.5), correlated(6, shift=0.8, seed=2)))
TIMES = jnp.array([0.02, 0.1, 0.3, 0.9])


def flow(data, sde, t):
    """The probability-flow field at times t [B], and its divergence by the trace of a full Jacobian."""
    score_fn = data.score_fn(sde)

    def exact_divergence(x):
        jacobian = jax.vmap(
            lambda x, t: jax.jacrev(lambda x: sde.probability_flow(score_fn, x[None], t[None])[0])(x), (0, 0)
        )(x, t)
        return jnp.trace(jacobian, axis1=1, axis2=2)

    return (lambda x: sde.probability_flow(score_fn, x, t)), exact_divergence


@each
def test_exact_divergence_is_the_closed_form_of_a_gaussian(name):
    """div v = D f + g^2 / 2 sum_i 1 / (m^2 lambda_i + std^2), whatever x."""
    sde, data = CONTINUOUS[name], correlated(6, shift=0.5)
    field, _ = flow(data, sde, TIMES)
    x = jax.random.normal(jax.random.key(0), (4, 6))
    drift, divergence = jax.jit(lambda x: Exact()(field, x))(x)
    precisions = [np.sum(1 / np.linalg.eigvalsh(data.moments(sde, float(t))[1])) for t in TIMES]
    expected = 6 * sde.drift_coeff(TIMES) + 0.5 * sde.diffusion(TIMES) ** 2 * jnp.asarray(precisions, jnp.float32)
    # Two terms that cancel for VP as t goes to 1: rounding is relative to each of them.
    np.testing.assert_allclose(divergence[0], expected, rtol=3e-5, atol=3e-5 * float(jnp.abs(expected).max()))
    np.testing.assert_allclose(drift, field(x), rtol=1e-5, atol=1e-5 * float(jnp.abs(drift).max()))  # rounding


@each
def test_estimators_are_unbiased_within_the_standard_error_that_they_tell(name):
    """On a mixture, whose Jacobian depends on x; the exact trace equals that of the full Jacobian."""
    sde = CONTINUOUS[name]
    field, closed = flow(MIXTURE, sde, TIMES)
    x = jax.random.normal(jax.random.key(1), (4, 6))
    num = 2000

    @jax.jit
    def run(x):
        kinds = {
            "rademacher": example_keys(jax.random.key(2), 4 * num),
            "gaussian": example_keys(jax.random.key(3), 4 * num),
        }
        probes = [sample_probes(kind, keys, (4 * num, 6)).reshape(num, 4, 6) for kind, keys in kinds.items()]
        few = [p.reshape(num // 2, 2, 4, 6) for p in probes]
        hutch = [Hutchinson(p)(field, x)[1] for p in probes]
        plus = jax.lax.map(lambda a: HutchPlusPlus(*a)(field, x)[1].mean(0), tuple(few))  # K = 2 at a time
        return Exact()(field, x)[1][0], closed(x), hutch, plus

    trace, expected, hutch, plus = run(x)
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(trace, expected, rtol=1e-5, atol=1e-5 * scale)
    for estimates in (*hutch, plus):
        error = jnp.std(estimates, axis=0) / len(estimates) ** 0.5
        # Four standard errors, and rounding.
        assert np.all(np.abs(estimates.mean(0) - expected) < 4 * error + 1e-5 * scale)


def test_hutchpp_varies_less_than_hutchinson_at_equal_cost_where_few_directions_matter():
    """Jacobians a I + U diag(1 / i^2) U^T: the shape of a probability flow's near a manifold."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    num, keys = 400, example_keys(jax.random.key(0), 400)
    for multiple in (0.0, -3.0):
        jacobian = jnp.asarray(basis * (1 / np.arange(1, 65) ** 2) @ basis.T + multiple * np.eye(64), jnp.float32)
        x = jnp.zeros((num, 64))

        def field(x, jacobian=jacobian):
            return x @ jacobian

        found = {
            make.__name__: make("rademacher", keys, x.shape, 12)(field, x)[1].mean(axis=0)
            for make in (hutchinson, hutchpp)
        }
        errors = {name: float(jnp.sqrt(jnp.mean((a - jnp.trace(jacobian)) ** 2))) for name, a in found.items()}
        assert errors["hutchpp"] < 0.5 * errors["hutchinson"], (multiple, errors)


def test_hutchpp_with_as_many_directions_as_dimensions_is_exact():
    jacobian = jax.random.normal(jax.random.key(0), (4, 4))
    keys = example_keys(jax.random.key(1), 3)
    _, divergence = hutchpp("rademacher", keys, (3, 4), 15)(lambda x: x @ jacobian, jnp.ones((3, 4)))
    np.testing.assert_allclose(divergence, jnp.full((5, 3), jnp.trace(jacobian)), rtol=1e-4, atol=1e-4)


def test_the_field_is_evaluated_once_for_all_probes():
    calls = []

    def field(x):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sin(x)

    x, keys = jnp.ones((2, 6)), example_keys(jax.random.key(0), 2)
    for make, num in ((hutchinson, 5), (exact, 1), (hutchpp, 6)):
        calls.clear()
        _, divergence = make("gaussian", keys, x.shape, num)(field, x)
        jax.block_until_ready(divergence)
        jax.effects_barrier()
        assert len(calls) == 1, make


@each
def test_several_probes_give_the_exact_likelihood_within_their_standard_error(name):
    sde, data = CONTINUOUS[name], correlated(6)
    score_fn, x = data.score_fn(sde), data.sample(0, (16, 6))
    keys = example_keys(jax.random.key(3), 16)

    @jax.jit
    def run(x):
        estimators = Exact(), hutchinson("rademacher", keys, x.shape, 8), hutchpp("rademacher", keys, x.shape, 12)
        return [log_likelihood(score_fn, sde, x, estimator) for estimator in estimators]

    exactly, *others = run(x)
    # The solver's tolerance of 1e-5, and a prior off by 4e-4 in variance; see test_likelihood_ode.
    np.testing.assert_allclose(exactly.logp_nats, data.logp(sde, x, jnp.full(16, 1e-5)), atol=4e-3)
    assert np.all(np.isnan(exactly.standard_error_nats)) and exactly.estimates_nats.shape == (1, 16)
    for found in others:
        assert np.all(found.standard_error_nats > 0)
        told, made = (np.sqrt(np.mean(a**2)) for a in (found.standard_error_nats, found.logp_nats - exactly.logp_nats))
        assert 0.5 < made / told < 2  # chi-squared of 16 numbers with heavy tails
        np.testing.assert_allclose(found.latent, exactly.latent, rtol=1e-3, atol=1e-3 * sde.prior_std)


def test_steps_of_its_own_make_an_example_independent_of_its_batch():
    sde, data = VP(), Gaussian(np.zeros(3), np.diag([1e-4, 1.0, 1.0]))
    score_fn, x = data.score_fn(sde), data.sample(0, (5, 3))
    keys = example_keys(jax.random.key(0), 5)
    settings = {"rtol": 1e-3, "atol": 1e-3}
    divergence = hutchinson("gaussian", keys, x.shape, 3)

    def run(x, divergence, per_example):
        return log_likelihood(score_fn, sde, x, divergence, per_example_steps=per_example, **settings)

    alone, together = (jax.jit(run, static_argnums=2)(x, divergence, own) for own in (True, False))
    single = jax.jit(run, static_argnums=2)(x[3:4], jax.tree.map(lambda a: a[:, 3:4], divergence), True)
    np.testing.assert_allclose(alone.logp_nats[3:4], single.logp_nats, rtol=1e-5)
    np.testing.assert_allclose(alone.estimates_nats[:, 3:4], single.estimates_nats, rtol=1e-5, atol=1e-5)
    assert alone.estimates_nats.shape == (3, 5) and int(alone.num_evals) >= int(single.num_evals) > 6
    np.testing.assert_allclose(alone.logp_nats, together.logp_nats, atol=0.1)  # at tolerances of 1e-3


def test_what_cannot_be_done_is_refused_in_one_sentence():
    x, keys = jnp.ones((1, 2000)), example_keys(jax.random.key(0), 1)
    with pytest.raises(ValueError, match="2000 dimensions, more than limit = 1024; use hutchinson or hutchpp"):
        log_likelihood(lambda x, t: -x, VP(), x, Exact())
    with pytest.raises(ValueError, match="num_probes = 2, but hutchpp"):
        hutchpp("gaussian", keys, x.shape, 2)
