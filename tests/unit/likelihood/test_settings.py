"""Bits per dimension as the config says: every setting of `eval` that chooses a method, on a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import likelihood
from builders.process import make_sde
from configs import default
from core.keys import example_keys, fold_in
from likelihood import dequantize
from likelihood.divergence import sample_probes
from likelihood.ode import log_likelihood
from tests.support.oracles import correlated
from tests.support.tracing import CountingJit

KEYS = example_keys(jax.random.key(0), 32)
DATA = correlated(4, spread=0.3)
FILLING = {"bpd_eps": 0.01}  # noise with standard deviation 0.04, in levels of width 0.125
LEVELS = dequantize.quantize(DATA.sample(0, (32, 4)), 16, True)


def config_of(**settings):
    config = default.get_config()
    config.training.sde = "vpsde"
    config.data.update(image_size=2, num_channels=1)  # the four dimensions of the data
    config.eval.update({"rtol": 1e-4, "atol": 1e-4, "bpd_eps": 1e-3} | settings)
    default.validate(config)
    return config


def measure(**settings):
    config = config_of(**settings)
    sde = make_sde(config)
    fn = likelihood.bits_per_dim(config, sde, 16)
    return jax.jit(lambda keys, levels: fn(DATA.predict(sde), keys, levels))(KEYS, LEVELS)


def exact_bits(num=4000):
    """-log2 P of the levels of the Gaussian without noise, by importance sampling; per dimension, [32]."""
    rng, levels = np.random.default_rng(0), np.asarray(LEVELS)
    x = 2 * (levels + rng.uniform(size=(num, *levels.shape))) / 16 - 1
    logp = DATA.data_logp(x.reshape(-1, 4)).reshape(num, -1)
    return -(np.log(np.exp(logp).mean(axis=0)) - 4 * np.log(8)) / (4 * np.log(2))


def test_defaults_are_one_uniform_dequantization_one_probe_and_the_ode():
    config = config_of()
    sde = make_sde(config)

    @jax.jit
    def run(keys):
        x = dequantize.uniform(fold_in(keys, 0), LEVELS, 16, True)
        epsilon = sample_probes("rademacher", fold_in(keys, 1), x.shape)
        return log_likelihood(DATA.predict(sde), sde, x, epsilon, eps=1e-3, rtol=1e-4, atol=1e-4).logp_nats

    found, expected = measure(), run(KEYS)
    np.testing.assert_allclose(found["logp_nats"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["bits_per_dim"], dequantize.bits_per_dim(expected, 4, 16, True), rtol=1e-5)
    assert set(found) == {"bits_per_dim", "logp_nats", "num_evals"}


@pytest.mark.parametrize(
    ("settings", "slack", "has_error"),
    [
        ({"divergence": "exact"}, 0.1, False),
        ({"num_probes": 8}, 0.2, True),
        ({"divergence": "hutchpp", "num_probes": 6}, 0.15, True),
        ({"divergence": "exact", "bpd_offset": "decoded"}, 0.1, False),
        ({"divergence": "exact", "num_dequantizations": 8}, 0.02, False),
        (
            {"divergence": "exact", "dequantization": "truncated_normal", **FILLING, "num_dequantizations": 8},
            0.1,
            False,
        ),
        ({"bpd_method": "bound", "num_probes": 300}, 0.25, True),
        ({"bpd_method": "bound", "num_probes": 300, "bpd_offset": "decoded"}, 0.25, True),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_every_setting_measures_the_same_probability(settings, slack, has_error):
    """Uniform dequantization of 16 levels costs 0.02 bits/dim here; the noise at eps = 1e-3 nothing."""
    found, exact = measure(**settings), exact_bits()
    difference = np.asarray(found["bits_per_dim"]) - exact
    error = difference.std() / 32**0.5
    assert -5 * error - 2e-3 < difference.mean() < slack, (difference.mean(), error)
    assert ("probe_standard_error" in found) == has_error
    if has_error:
        assert found["probe_standard_error"].shape == (32,) and np.all(found["probe_standard_error"] > 0)
    assert found["num_evals"].shape == () and int(found["num_evals"]) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"divergence": "hutchinsn"}, "config.eval.divergence = 'hutchinsn' .*nearest: hutchinson"),
        ({"hutchinson": "gausian"}, "config.eval.hutchinson = 'gausian' .*nearest: gaussian"),
        (
            {"dequantization": "normal"},
            "config.eval.dequantization = 'normal' .*choose one of truncated_normal, uniform, variational",
        ),
        ({"bpd_method": "bond"}, "config.eval.bpd_method = 'bond' .*nearest: bound"),
        ({"bpd_offset": "zero"}, "config.eval.bpd_offset = 'zero' .*choose one of at_eps, decoded"),
        ({"bpd_method": "bound", "dequantization": "truncated_normal"}, "use 'ode' and 'at_eps', or 'uniform'"),
        ({"ode_solver": "dopri6"}, "config.eval.ode_solver = 'dopri6' .*nearest: dopri"),
        ({"divergence": "hutchpp"}, "'hutchpp' .* config.eval.num_probes = 1; use at least 3 .*, or 'hutchinson'"),
        ({"num_probes": 0}, "config.eval.num_probes = 0, but it must be positive"),
    ],
)
def test_invalid_settings_are_refused_before_anything_runs(settings, message):
    with pytest.raises(ValueError, match=message):
        config = config_of(**settings)
        likelihood.bits_per_dim(config, make_sde(config), 16)


def test_the_exact_divergence_of_a_large_image_is_refused_with_the_alternative():
    config = config_of(divergence="exact")
    config.data.update(image_size=32, num_channels=1)
    likelihood.bits_per_dim(config, make_sde(config), 16)  # 1,024 dimensions are the most
    config.data.num_channels = 3
    with pytest.raises(ValueError, match="3072 dimensions .*, more than 1024; use 'hutchinson' or 'hutchpp'"):
        likelihood.bits_per_dim(config, make_sde(config), 16)
    config.eval.bpd_method = "bound"  # which takes no divergence
    likelihood.bits_per_dim(config, make_sde(config), 16)


@pytest.mark.parametrize(
    "settings", [{"dequantization": "variational"}, {"num_dequantizations": 2}, {"bpd_offset": "decoded"}]
)
def test_the_bound_for_levels_takes_no_dequantization(settings):
    config = config_of(bpd_method="levels", **settings)
    config.data.uniform_dequantization = False
    with pytest.raises(ValueError, match="without dequantization.*use 'uniform', 1 and 'at_eps'"):
        likelihood.bits_per_dim(config, make_sde(config), 16)


def test_the_bound_needs_continuous_time():
    config = config_of(bpd_method="bound")
    config.training.continuous = False
    with pytest.raises(ValueError, match=r"use config.training.continuous = True"):
        likelihood.bits_per_dim(config, make_sde(config), 16)


def test_the_variational_dequantization_needs_continuous_time_and_learns_from_the_config():
    config = config_of(dequantization="variational", dequantization_steps=2)
    sde = make_sde(config)
    levels = LEVELS.reshape(32, 2, 2, 1)
    predict = DATA.predict(sde)
    learn = likelihood.fit_dequantization(config, sde, 16)
    learned = learn(lambda weights: predict, None, jax.random.key(0), lambda step: levels)
    fn = likelihood.bits_per_dim(config, sde, 16)
    found = jax.jit(lambda learned: fn(predict, KEYS, levels, learned))(learned)
    assert found["bits_per_dim"].shape == (32,) and np.all(np.isfinite(found["bits_per_dim"]))
    again = learn(lambda weights: predict, None, jax.random.key(0), lambda step: levels)
    jax.tree.map(np.testing.assert_array_equal, learned, again)
    assert likelihood.fit_dequantization(config_of(), sde, 16)(None, None, None, None) is None
    config.training.continuous = False
    with pytest.raises(ValueError, match="use config.training.continuous = True, or 'uniform'"):
        likelihood.bits_per_dim(config, make_sde(config), 16)


def test_no_setting_recompiles_or_depends_on_the_batch():
    config = config_of(num_probes=2, num_dequantizations=2, bpd_method="bound")
    sde = make_sde(config)
    fn = likelihood.bits_per_dim(config, sde, 16)
    run = CountingJit(lambda keys, levels: fn(DATA.predict(sde), keys, levels)["bits_per_dim"])
    whole = run(KEYS, LEVELS)
    np.testing.assert_allclose(run(KEYS[::-1], LEVELS[::-1]), whole[::-1], rtol=1e-5)
    assert run.num_traces == 1 and not np.any(jnp.isnan(whole))
