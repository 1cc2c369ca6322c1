"""Parameterizations: how a network receives the time, and how its output becomes a prediction."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.parameterizations import PARAMETERIZATIONS, descending_level, make_predict, preconditioned, scaled_time
from sampling import grids
from sampling.steps.ddim import ddim
from sde.chain import ddpm_chain, smld_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture, jit_for_each


def test_the_label_of_a_level_follows_the_published_grid():
    """round((1 - t)(N - 1)) on linspace(1, eps, N); the level whose std the chain uses everywhere."""
    chain = smld_chain(0.01, 50.0, 1000)
    t = jnp.asarray(np.linspace(1.0, 1e-5, 1000), jnp.float32)
    np.testing.assert_array_equal(descending_level(chain, t), np.round((1 - np.asarray(t)) * 999))
    between = jnp.linspace(0, 1, 777)
    sigmas = jnp.asarray(chain.stds[::-1], jnp.float32)
    np.testing.assert_array_equal(sigmas[descending_level(chain, between)], chain.std(between))
    with pytest.raises(ValueError, match="VE is defined in continuous time and has no noise levels"):
        descending_level(VE(), t)


def test_the_condition_reaches_the_network():
    chain, x = ddpm_chain(0.1, 20.0, 100), jnp.arange(6.0).reshape(2, 3)
    t = jnp.array([0.2, 0.9])
    predict = make_predict(
        lambda x, time, cond: x * cond, chain, scaled_time(99.0), PARAMETERIZATIONS["noise"](0.5), cond=2.0
    )
    np.testing.assert_array_equal(predict(x, t).noise, 2 * x)


SDES = {
    "vp": VP(),
    "subvp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "cosine": Cosine(),
    "linear": Linear(),
    "chain": ddpm_chain(0.1, 20.0, 100),
}


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_every_parameterization_of_the_exact_answer_is_the_exact_prediction(name, sde):
    """For one known image x0 the score is (mean_coeff x0 - x) / std^2; each target is written out from x0 and z."""
    t = jnp.array([0.05, 0.4, 0.95])
    x0, z = jnp.full((3, 4), 0.3), jnp.tile(jnp.linspace(-1.0, 1.0, 4)[None, :], (3, 1))
    x = sde.perturb(x0, t, z)
    m, s, sd = sde.mean_coeff(t)[:, None], sde.std(t)[:, None], 0.5
    a, sigma = jnp.sqrt(m**2 + s**2), s / m
    out = {
        "noise": z,
        "score": -z / s,
        "data": x0,
        "velocity": (m * z - s * x0) / a,
        "flow": z - x0,
        "edm": (x0 - sd**2 / (sigma**2 + sd**2) * x / m) * jnp.sqrt(sigma**2 + sd**2) / (sigma * sd),
    }[name]
    predict = make_predict(lambda x, time, cond: out, sde, scaled_time(1.0), PARAMETERIZATIONS[name](sd))
    # Float32 at sigma = 76 against data of 0.3: x carries 1e-7 of 76, seen through 1 / std.
    np.testing.assert_allclose(predict(x, t).noise, z, atol=2e-4)


NOISY = {  # mean_coeff^2 / (mean_coeff^2 + std^2) is 1e-10 at t = 1
    "vp": VP(0.1, 45.95),
    "subvp": SubVP(0.1, 45.95),
    "ve": VE(0.01, 1e5),
    "edm": EDM(1e5),
    "cosine": Cosine(log_snr_min=math.log(1e-10)),
    "chain": ddpm_chain(0.1, 45.5, 1000),
    "own cosine": Cosine(),
    "linear": Linear(end=1e-5),
}


@pytest.mark.parametrize("sde", NOISY.values(), ids=NOISY)
def test_both_fields_have_the_digits_that_the_output_of_the_network_allows(sde):
    """In float32, given x and the exact output rounded to float32, against float64.

    x0 and the noise are within 1e-6 where the network's output says enough. Noise and score do not say what x0 is at
    much noise, nor does the data say what the noise is at little noise: what remains is the rounding of the two terms
    of a difference, 2^-24 of each for every number and product in them, divided by the coefficient.
    """
    t, s, ulp = np.array([0.01, 0.5, 1.0], np.float32), 0.5, 2.0**-24
    x0, z = np.random.default_rng(0).uniform(-1, 1, size=(2, 3, 500))
    with jax.enable_x64(True):
        m, std = (np.asarray(f(jnp.asarray(t, jnp.float64)))[:, None] for f in (sde.mean_coeff, sde.std))
    x, a, sigma = m * x0 + std * z, np.hypot(m, std), std / m
    if sde is NOISY["cosine"]:
        assert m[-1, 0] ** 2 == pytest.approx(1e-10, rel=1e-6)
    outputs = {
        "noise": z,
        "score": -z / std,
        "data": x0,
        "velocity": (m * z - std * x0) / a,
        "flow": z - x0,
        "edm": (x0 - s**2 / (sigma**2 + s**2) * x / m) * np.sqrt(sigma**2 + s**2) / (sigma * s),
    }
    of_data, of_noise = (np.abs(x) + std * np.abs(z)) / m, (np.abs(x) + m * np.abs(x0)) / std
    for name, output in outputs.items():
        t32, x32, out = (jnp.asarray(value, jnp.float32) for value in (t, x, output))
        found = PARAMETERIZATIONS[name](s).output(sde, x32, t32, out)
        bound_x0 = 1e-6 + (3 * ulp * of_data if name in ("noise", "score") else 0)
        bound_noise = 1e-6 + (2 * ulp * of_noise if name == "data" else 0)
        np.testing.assert_array_less(np.abs(np.asarray(found.x0, np.float64) - x0), bound_x0, err_msg=name)
        np.testing.assert_array_less(np.abs(np.asarray(found.noise, np.float64) - z), bound_noise, err_msg=name)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_the_input_of_a_preconditioned_network_has_unit_variance(sde):
    t = jnp.array([0.05, 0.4, 0.95])
    sees = []
    predict = make_predict(lambda x, time, cond: sees.append(x) or x, sde, scaled_time(1.0), preconditioned(0.5))
    x0, z = 0.5 * jax.random.normal(jax.random.key(0), (2, 3, 4000))
    predict(sde.perturb(x0, t, z / 0.5), t)
    np.testing.assert_allclose(jnp.std(sees[0], axis=1), 1.0, atol=0.05)  # 4,000 numbers: 1.1%


def modes(*parts):
    """A one-dimensional mixture from the weight, mean and standard deviation of each part."""
    return Mixture(
        tuple(weight for weight, _, _ in parts),
        tuple(Gaussian(np.array([mean]), np.array([[std**2]])) for _, mean, std in parts),
    )


COSINE = Cosine(log_snr_min=math.log(1e-10), log_snr_max=math.log(1e4))  # cumulative alpha from 1e-10 to 1 - 1e-4
SCHEDULES = {"cosine": COSINE, "vp": VP(), "tsdiff": ddpm_chain(0.01, 10.0, 100)}  # TSDiff: beta from 1e-4 to 0.1
OUTPUTS = ("noise", "data", "velocity")


def ddim_runs(data, sde, x, times, num_steps, digits):
    """DDIM from x [B, 1] over the first `num_steps` steps of `times`, with each kind of output of an exact network."""

    def predict_of(kind):
        def network(x, t, cond):
            m, s, (x0, z) = sde.mean_coeff(t)[:, None], sde.std(t)[:, None], data.predict(sde)(x, t)
            out = {"noise": z, "data": x0, "velocity": (m * z - s * x0) / jnp.sqrt(m**2 + s**2)}[kind]
            return jnp.where(digits == 8, out.astype(jnp.bfloat16).astype(x.dtype), out)

        return make_predict(network, sde, scaled_time(1.0), PARAMETERIZATIONS[kind](0.5))

    def run(predict):
        def step(k, x):
            t, t_next = (jnp.full(x.shape[:1], times[k + i]) for i in (0, 1))
            return ddim()(x, predict, sde, x, t, t_next).x

        return jax.lax.fori_loop(0, num_steps, step, x)

    return {kind: run(predict_of(kind)) for kind in OUTPUTS}


MIXTURES = {
    "two": modes((0.3, -0.6, 0.1), (0.7, 0.4, 0.14)),
    "three": modes((0.3, -0.7, 0.08), (0.3, 0.1, 0.08), (0.4, 0.8, 0.08)),
}
RUNS = {name: jit_for_each(SCHEDULES, functools.partial(ddim_runs, data)) for name, data in MIXTURES.items()}


def rounding_errors(data, name, times):
    """Root mean square error of samples whose network has a bfloat16 output, and a float32 one, against float64."""
    x = np.random.default_rng(0).normal(size=(2000, 1))
    padded = np.concatenate([times, np.full(101 - len(times), times[-1])])

    def run(dtype, digits):
        start, grid = jnp.asarray(x, dtype), jnp.asarray(padded, dtype)
        return jax.device_get(RUNS[data](name, start, grid, len(times) - 1, digits))

    with jax.enable_x64(True):
        exact = run(jnp.float64, 53)["velocity"]
    return [{k: float(np.sqrt(np.mean((v - exact) ** 2))) for k, v in run(jnp.float32, n).items()} for n in (8, 24)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_rounding_the_output_of_a_network_costs_least_for_velocity_and_most_for_noise(name):
    """A bfloat16 output and DDIM: rounding changes x0 by 2^-9 std / mean_coeff for noise, and by 2^-9 for data.

    The last prediction of the data is left out, because it would round the sample itself to bfloat16.
    """
    sde = SCHEDULES[name]
    for num_steps in (10, 50, 100):
        times = np.array([t for t in grids.GRIDS["uniform"](sde, num_steps, 1e-3) if t >= 0])
        if sde.is_discrete:
            times += 0.5 / (sde.num_scales - 1)  # between levels, so that float32 and float64 find the same one
        error, _ = rounding_errors("three", name, times)
        assert error["velocity"] < error["data"] < 1.1 * error["noise"], (num_steps, error)
        if name == "vp":
            assert error["velocity"] <= error["noise"] / 5, (num_steps, error)


def test_velocity_and_data_survive_bfloat16_far_better_than_noise():
    """DDIM in 100 equal steps in log-SNR, VP: rounding changes the predicted x0 by 2^-9 std / mean_coeff for noise.

    That factor is 150 at t = 1, where it is 1 for data, and just as small for velocity after the weight of the step.
    Most of an early error is lost in later steps (it shrinks with sigma), which leaves factors of 28 and 8; the test
    requires half of them. The final denoising is left out, because it would round the sample itself to bfloat16.
    """
    error, full = rounding_errors("two", "vp", grids.log_snr(VP(), 100, 1e-3))
    assert 1e-3 < error["noise"] < 0.1
    assert error["noise"] > 14 * error["velocity"] and error["noise"] > 4 * error["data"], error
    assert max(full.values()) < 1e-4  # with rounding of 2^-24 instead of 2^-9
