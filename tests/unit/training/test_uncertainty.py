"""The learned weight of noise levels: what it becomes, and what a network has to do with it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from builders.learned import UNCERTAINTY, beside_network, uncertainty
from configs import default
from core.keys import example_keys, fold_in
from corruption.predictions import Gaussian
from sde import times
from sde.vp import VP
from training.objectives.score_matching import score_matching, stratified

SDE, SIZE, STEPS, BINS = VP(), 512, 600, 8


def known_loss(sde, t):
    """The expected loss where the squared error is that of noise 1: between 0.05 and 4, with a peak."""
    return 0.05 + 4 * jnp.exp(-(((t - 0.4) / 0.2) ** 2))


def nothing(x, t):
    """A prediction of no noise, whose squared error is that of the noise itself: 1 on average."""
    return Gaussian(x / SDE.mean_coeff(t)[:, None], jnp.zeros_like(x))


def objective_of(log_loss):
    return score_matching(
        lambda params, batch, dropout_key: nothing,
        SDE, lambda keys, batch: batch["x"], stratified(times.uniform(1e-3)),
        weighting=known_loss, reduce_mean=True, uncertainty=log_loss,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    """The loss as a function of the parameters, those at the start, and those after training."""
    config = default.get_config()
    config.training.uncertainty = True
    log_loss, start = uncertainty(config), beside_network(config, {}, jax.random.key(0))
    objective, batch = objective_of(log_loss), {"x": jnp.ones((SIZE, 16))}
    tx = optax.adam(optax.cosine_decay_schedule(0.02, STEPS))

    def terms(params, step):
        keys = example_keys(fold_in(jax.random.key(1), step), SIZE)
        return objective({"params": params}, keys, batch, None, step)

    def advance(carry, step):
        params, state = carry
        grads = jax.grad(lambda p: jnp.mean(terms(p, step).losses["score_matching"]))(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    terms = jax.jit(terms)
    train = jax.jit(lambda carry: jax.lax.scan(advance, carry, jnp.arange(STEPS))[0][0])
    return log_loss, terms, start, train((start, tx.init(start)))


def test_the_learned_weight_is_the_loss_in_every_bin_of_noise_levels(fitted):
    log_loss, _, _, params = fitted
    t = jnp.linspace(0.02, 0.98, 50 * BINS)
    found, expected = (
        np.asarray(a).reshape(BINS, -1).mean(1) for a in (jnp.exp(log_loss(params, SDE, t)), known_loss(SDE, t))
    )
    # The means of 512 losses of 16 squares each over the last steps are known to about 1%.
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_it_starts_as_the_given_weighting_and_then_makes_all_levels_weigh_alike(fitted):
    _, terms, start, params = fitted
    first, last, plain = terms(start, 0), terms(params, 0), objective_of(None)
    keys = example_keys(fold_in(jax.random.key(1), 0), SIZE)
    losses = plain({"params": {}}, keys, {"x": jnp.ones((SIZE, 16))}, None, 0).losses["score_matching"]
    np.testing.assert_allclose(first.losses["score_matching"], losses, rtol=1e-6)
    np.testing.assert_allclose(last.metrics["plain_loss"], jnp.mean(losses), rtol=1e-5)  # comparable between steps
    weighted = np.mean(last.losses["score_matching"]) - float(
        jnp.mean(jnp.log(known_loss(SDE, jnp.linspace(0, 1, 999))))
    )
    assert weighted == pytest.approx(1, abs=0.05)  # E[exp(-u) L] = 1 in every bin
    assert set(start) == {UNCERTAINTY}


def test_a_network_with_parameters_of_the_same_name_is_refused():
    config = default.get_config()
    config.training.uncertainty = True
    with pytest.raises(ValueError, match="The network has parameters 'uncertainty', which are also trained beside it"):
        beside_network(config, {UNCERTAINTY: {}}, jax.random.key(0))
