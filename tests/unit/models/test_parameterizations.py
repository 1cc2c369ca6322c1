"""Parameterizations: how a network receives the time, and how its output becomes a score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.parameterizations import PARAMETERIZATIONS, descending_level, make_score_fn, preconditioned, scaled_time
from sampling import grids
from sampling.pc import PC
from sampling.steps.ddim import ddim
from sampling.steps.none import none
from sde.chain import ddpm_chain, smld_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture


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
    score_fn = make_score_fn(
        lambda x, time, cond: x * cond, chain, scaled_time(99.0), PARAMETERIZATIONS["noise"](0.5), cond=2.0
    )
    np.testing.assert_allclose(score_fn(x, t), -2 * x / chain.std(t)[:, None], rtol=1e-6)  # one product, one quotient


SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "edm": EDM(), "cosine": Cosine(), "chain": ddpm_chain(0.1, 20.0, 100)}


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_every_parameterization_of_the_exact_answer_is_the_exact_score(name, sde):
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
        "edm": (x0 - sd**2 / (sigma**2 + sd**2) * x / m) * jnp.sqrt(sigma**2 + sd**2) / (sigma * sd),
    }[name]
    score_fn = make_score_fn(lambda x, time, cond: out, sde, scaled_time(1.0), PARAMETERIZATIONS[name](sd))
    # Float32 at sigma = 76 against data of 0.3: x carries 1e-7 of 76, seen through 1 / std.
    np.testing.assert_allclose(score_fn(x, t) * s, -z, atol=2e-4)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_the_input_of_a_preconditioned_network_has_unit_variance(sde):
    t = jnp.array([0.05, 0.4, 0.95])
    sees = []
    score_fn = make_score_fn(lambda x, time, cond: sees.append(x) or x, sde, scaled_time(1.0), preconditioned(0.5))
    x0, z = 0.5 * jax.random.normal(jax.random.key(0), (2, 3, 4000))
    score_fn(sde.perturb(x0, t, z / 0.5), t)
    np.testing.assert_allclose(jnp.std(sees[0], axis=1), 1.0, atol=0.05)  # 4,000 numbers: 1.1%


MIXTURE = Mixture((0.3, 0.7), tuple(Gaussian(np.array([m]), np.array([[v]])) for m, v in ((-0.6, 0.01), (0.4, 0.02))))


def exact_output(name, sde, x, t):
    """The output of a perfect network for data from MIXTURE in a parameterization."""
    m, s, score = sde.mean_coeff(t)[:, None], sde.std(t)[:, None], MIXTURE.score_fn(sde)(x, t)
    noise, data = -s * score, (x + s**2 * score) / m
    return {"noise": noise, "data": data, "velocity": m * noise - s * data}[name]


def test_velocity_and_data_survive_bfloat16_far_better_than_noise():
    """DDIM in 100 equal steps in log-SNR, VP: rounding changes the predicted x0 by 2^-9 std / mean_coeff for noise.

    That factor is 150 at t = 1, where it is 1 for data, and just as small for velocity after the weight of the step.
    Most of an early error is lost in later steps (it shrinks with sigma), which leaves factors of 28 and 8; the test
    requires half of them. The final denoising is left out, because it would round the sample itself to bfloat16.
    """
    sde = VP()
    sampler = PC(sde, ddim(), none(), grids.log_snr(sde, 100, 1e-3), denoise=False)

    def draw(name, dtype):
        def network(x, time, cond):
            return exact_output(name, sde, x, time).astype(dtype).astype(x.dtype)

        score_fn = make_score_fn(network, sde, scaled_time(1.0), PARAMETERIZATIONS[name](0.5))
        return sampler(jax.random.key(0), score_fn, (2000, 1)).x

    names = ("noise", "velocity", "data")
    found = jax.device_get(
        jax.jit(lambda: {name: [draw(name, t) for t in (jnp.float32, jnp.bfloat16)] for name in names})()
    )
    reference = found["noise"][0]
    error = {name: float(np.sqrt(np.mean((rounded - reference) ** 2))) for name, (_, rounded) in found.items()}
    for name in names:  # in float32, with rounding of 2^-24 instead of 2^-9, they agree
        np.testing.assert_allclose(found[name][0], reference, atol=1e-4)
    assert 1e-3 < error["noise"] < 0.1
    assert error["noise"] > 14 * error["velocity"] and error["noise"] > 4 * error["data"], error
