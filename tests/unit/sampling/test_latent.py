"""Latent codes: encoding, decoding, and the paths between codes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sampling.latent import decode, encode, interpolate, round_trip_error, temper
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Mixture, correlated, jit_for_each

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "linear": Linear()}
DATA = Mixture((0.5, 0.5), (correlated(4, shift=0.5), correlated(4, shift=0.5, seed=2)))


@functools.partial(jit_for_each, CONTINUOUS)
def round_trip(sde, x):
    predict = DATA.predict(sde)
    latent, there = encode(predict, sde, x, eps=1e-3, rtol=1e-6, atol=1e-6)
    decoded, back = decode(predict, sde, latent, eps=1e-3, rtol=1e-6, atol=1e-6)
    return latent, decoded, there, back


@pytest.mark.parametrize("name", CONTINUOUS)
def test_codes_decode_to_the_data_and_are_distributed_as_the_prior(name):
    sde = CONTINUOUS[name]
    x = jnp.concatenate([part.sample(i, (200, 2, 2)) for i, part in enumerate(DATA.parts)])
    latent, decoded, there, back = round_trip(name, x)
    error = round_trip_error(x, decoded)
    # Tolerance 1e-6 of about 100 steps in float32; for VE, latents of size 50 have a rounding error of 3e-6.
    assert error.shape == (400,) and float(error.max()) < 2e-3
    assert int(there) > 6 and int(back) > 6
    # 1600 numbers: four standard errors of the mean and the standard deviation, 0.1 and 0.07 of that of the prior.
    assert abs(float(latent.mean())) < 0.1 * sde.prior_std
    assert float(latent.std()) == pytest.approx(sde.prior_std, rel=0.07)


def test_codes_are_solved_by_the_solver_that_is_asked_for_and_each_by_its_own_steps():
    sde, x = VP(), DATA.parts[0].sample(0, (3, 2, 2))

    @jax.jit
    def codes(x):
        options = {"eps": 1e-3, "rtol": 1e-2, "atol": 1e-2, "solver": "heun", "per_example": True}
        return [encode(DATA.predict(sde), sde, part, **options) for part in (x, x[:1])]

    (all_codes, _), (first, evals) = codes(x.at[1:].multiply(20))
    np.testing.assert_allclose(all_codes[:1], first, rtol=1e-4, atol=1e-5)
    assert int(evals) % 2 == 0  # two for each step; dopri5: one, and six for each step


def test_the_path_between_two_codes_keeps_their_norm_at_constant_speed():
    z1, z2 = jax.random.normal(jax.random.key(0), (2, 5, 2, 3, 4))
    unit1, unit2 = (z / jnp.linalg.norm(z.reshape(5, -1), axis=1).reshape(5, 1, 1, 1) for z in (z1, z2))
    path = interpolate(unit1, unit2, 7)
    assert path.shape == (7, 5, 2, 3, 4)
    np.testing.assert_allclose(np.linalg.norm(path.reshape(7, 5, -1), axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(path[0], unit1, atol=1e-6)
    np.testing.assert_allclose(path[-1], unit2, atol=1e-6)
    steps = np.linalg.norm(np.diff(path.reshape(7, 5, -1), axis=0), axis=-1)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), rtol=1e-4)
    # Codes with different norms are still reached at the ends.
    np.testing.assert_allclose(interpolate(z1, z2, 2), jnp.stack([z1, z2]), atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_parallel_codes_are_joined_by_a_straight_line(factor):
    z = jax.random.normal(jax.random.key(0), (2, 6))
    path = interpolate(z, factor * z, 3)
    np.testing.assert_allclose(path[1], 0.5 * (1 + factor) * z, atol=1e-5)


def test_temperature_scales_and_invalid_arguments_are_refused():
    z = jnp.ones((2, 3))
    np.testing.assert_array_equal(temper(z, 0.5), 0.5 * z)
    with pytest.raises(ValueError, match="must not be negative"):
        temper(z, -1.0)
    with pytest.raises(ValueError, match="at least 2"):
        interpolate(z, z, 1)
