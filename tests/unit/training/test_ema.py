"""Averages of the parameters: their weights, and a length that is chosen afterwards."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from builders.optimizer import make_averages
from configs import default
from tests.support.configs import load
from training.ema import EMA, PowerEMA, exponent
from training.posthoc_ema import Profile, coefficients, combine
from training.state import initial_state
from training.step import make_train_step


def track(averages, values):
    """The averages, in double precision up to their float32 weights, after each of the values [K, D]."""
    current = {name: np.zeros_like(values[0]) for name in averages}
    history = []
    update = jax.jit(lambda c, p, k: {name: a.update(c[name], p, k) for name, a in averages.items()})
    for k, value in enumerate(values, start=1):
        current = update(current, value, k)
        history.append(current)
    return history


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.10, 6.94), (0.05, 16.97)])
def test_the_exponent_of_a_width_is_the_published_one_and_gives_that_width(sigma_rel, gamma):
    assert exponent(sigma_rel) == pytest.approx(gamma, abs=0.005)  # printed with two digits
    t = (np.arange(100_000) + 0.5) / 100_000
    weights = t ** exponent(sigma_rel)
    weights /= weights.sum()
    mean = weights @ t
    assert np.sqrt(weights @ (t - mean) ** 2) == pytest.approx(sigma_rel, rel=1e-6)  # of the sum, 1 / N^2


@pytest.mark.parametrize("sigma_rel", [0.0, 0.3, -0.1])
def test_a_width_that_there_is_not_is_refused(sigma_rel):
    with pytest.raises(ValueError, match=rf"sigma_rel = {sigma_rel:g}, but it must be in \(0, 0.288\)"):
        exponent(sigma_rel)


def test_a_power_function_average_has_the_weights_of_its_profile_and_forgets_the_start():
    last = track({"a": PowerEMA(0.1)}, np.eye(50, dtype=np.float32))[-1]["a"]
    edges = (np.arange(51) / 50) ** (exponent(0.1) + 1)
    np.testing.assert_allclose(last, np.diff(edges), rtol=1e-4, atol=1e-7)  # float32, fifty updates


def test_an_average_chosen_afterwards_is_the_one_that_would_have_been_tracked():
    """Parameters that walk at random, with a drift; two widths stored at every sixteenth of the run."""
    steps, wanted = 800, (0.06, 0.08, 0.12, 0.15, 0.2)
    noise = np.random.default_rng(0).normal(size=(steps, 100))
    values = np.cumsum(noise + 0.1, axis=0).astype(np.float32)
    averages = {f"{s}": PowerEMA(s) for s in (0.05, 0.1, *wanted)}
    history = track(averages, values)
    stored = [Profile(step, s) for step in range(50, steps + 1, 50) for s in (0.05, 0.1)]
    for sigma_rel in wanted:
        for step in (steps, 600):
            weights = coefficients(stored, Profile(step, sigma_rel))
            found = combine(weights, ({"w": history[p.step - 1][f"{p.sigma_rel}"]} for p in stored))["w"]
            exact = np.asarray(history[step - 1][f"{sigma_rel}"])
            # What is asked for; the weights add up to one but for what the fit leaves.
            assert np.linalg.norm(found - exact) < 1e-2 * np.linalg.norm(exact), (sigma_rel, step)
            assert weights.sum() == pytest.approx(1, abs=1e-2)


def test_the_profile_chosen_afterwards_is_within_a_hundredth_of_the_tracked_one():
    steps = 800
    averages = {f"{s}": PowerEMA(s) for s in (0.05, 0.1, 0.075, 0.15)}
    history = track(averages, np.eye(steps, dtype=np.float32))  # an average of unit vectors is its own profile
    stored = [Profile(step, s) for step in range(50, steps + 1, 50) for s in (0.05, 0.1)]
    for sigma_rel in (0.075, 0.15):
        weights = coefficients(stored, Profile(steps, sigma_rel))
        found = combine(weights, (history[p.step - 1][f"{p.sigma_rel}"] for p in stored))
        exact = np.asarray(history[-1][f"{sigma_rel}"])
        assert np.linalg.norm(found - exact) < 1e-2 * np.linalg.norm(exact), sigma_rel


def test_a_stored_average_is_found_again_and_a_later_one_is_refused():
    stored = [Profile(step, s) for step in (50, 100) for s in (0.05, 0.1)]
    np.testing.assert_allclose(coefficients(stored, stored[1]), [0, 1, 0, 0], atol=1e-9)
    with pytest.raises(
        ValueError, match="An average at step 101 was requested, but the last one stored is of step 100"
    ):
        coefficients(stored, Profile(101, 0.1))


def test_tracks_follow_the_parameters_and_a_state_without_them_is_as_before():
    def loss_fn(variables, key, batch, step):
        loss = jnp.mean((variables["params"]["a"] - batch["x"]) ** 2)
        return loss, ({"loss": loss}, {})

    tx, params = optax.sgd(0.1), {"a": jnp.float32(0.0)}
    averages = {"rate_0": EMA(0.5, warmup=True), "power_0": PowerEMA(0.1)}
    args = (loss_fn, tx, EMA(0.9), lambda step: 0.1, jax.random.key(0))
    plain, several = initial_state({"params": params}, tx), initial_state({"params": params}, tx, averages)
    batch = {"x": jnp.ones((4,))}
    for _ in range(3):
        plain, _ = jax.jit(make_train_step(*args))(plain, batch)
        several, _ = jax.jit(make_train_step(*args, averages=averages))(several, batch)
    assert jax.tree.structure(plain) == jax.tree.structure(initial_state({"params": params}, tx))
    assert plain.ema_params == several.ema_params and plain.params == several.params
    path = [1 - 0.8**k for k in (1, 2, 3)]  # the parameters after each step
    expected = 0.0
    for k, value in enumerate(path, start=1):
        rate = min(0.5, (1 + k) / (10 + k))
        expected = rate * expected + (1 - rate) * value
    assert float(several.averages["rate_0"]["a"]) == pytest.approx(expected, rel=1e-5)  # float32
    shares = np.diff((np.arange(4) / 3) ** (exponent(0.1) + 1))
    assert float(several.averages["power_0"]["a"]) == pytest.approx(float(shares @ path), rel=1e-5)


def test_settings_of_averages_that_cannot_be_are_refused_with_their_key():
    config = load("configs/vp/smoke.py")
    assert make_averages(config) == {}
    config.model.ema_rates = (0.5, 1.0)
    with pytest.raises(ValueError, match=r"config.model.ema_rates has 1.0, but a rate must be in \[0, 1\)"):
        default.validate(config)
    config.model.update(ema_rates=(0.5,), ema_sigma_rels=(0.05, 0.5))
    with pytest.raises(ValueError, match=r"config.model.ema_sigma_rels has 0.5, but a width must be in \(0, 0.288\)"):
        default.validate(config)


def test_ema_warm_up_starts_at_two_elevenths():
    given = EMA(0.999, warmup=True).update({"a": jnp.asarray(0.0)}, {"a": jnp.asarray(1.0)}, jnp.asarray(1))
    assert float(given["a"]) == pytest.approx(1 - 2 / 11, rel=1e-6)
