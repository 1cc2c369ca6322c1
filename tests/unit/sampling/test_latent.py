"""Latent codes: there and back, and the paths between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sampling.latent import decode, encode, interpolate, round_trip_error, temper
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Mixture, correlated

pytestmark = pytest.mark.slow  # together a minute and a half; `make test` runs them

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_codes_decode_to_the_data_and_are_distributed_as_the_prior(name):
    sde = CONTINUOUS[name]
    data = Mixture((0.5, 0.5), (correlated(4, shift=0.5), correlated(4, shift=0.5, seed=2)))
    x = jnp.concatenate([part.sample(i, (200, 2, 2)) for i, part in enumerate(data.parts)])
    score_fn = data.score_fn(sde)

    @jax.jit
    def run(x):
        latent, there = encode(score_fn, sde, x, eps=1e-3, rtol=1e-6, atol=1e-6)
        decoded, back = decode(score_fn, sde, latent, eps=1e-3, rtol=1e-6, atol=1e-6)
        return latent, decoded, there, back

    latent, decoded, there, back = run(x)
    error = round_trip_error(x, decoded)
    # Tolerance 1e-6 of about 100 steps in float32, and for VE latents of 50, of which 6e-8 is 3e-6.
    assert error.shape == (400,) and float(error.max()) < 2e-3
    assert int(there) > 6 and int(back) > 6
    # 1600 numbers: four standard errors of mean and deviation, 0.1 and 0.07 of the prior's.
    assert abs(float(latent.mean())) < 0.1 * sde.prior_std
    assert float(latent.std()) == pytest.approx(sde.prior_std, rel=0.07)


def test_the_way_between_two_codes_keeps_their_norm_and_runs_evenly():
    z1, z2 = jax.random.normal(jax.random.key(0), (2, 5, 2, 3, 4))
    unit1, unit2 = (z / jnp.linalg.norm(z.reshape(5, -1), axis=1).reshape(5, 1, 1, 1) for z in (z1, z2))
    path = interpolate(unit1, unit2, 7)
    assert path.shape == (7, 5, 2, 3, 4)
    np.testing.assert_allclose(np.linalg.norm(path.reshape(7, 5, -1), axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(path[0], unit1, atol=1e-6)
    np.testing.assert_allclose(path[-1], unit2, atol=1e-6)
    steps = np.linalg.norm(np.diff(path.reshape(7, 5, -1), axis=0), axis=-1)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), rtol=1e-4)
    # Norms of their own are met at the ends.
    np.testing.assert_allclose(interpolate(z1, z2, 2), jnp.stack([z1, z2]), atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_parallel_codes_are_joined_by_the_line(factor):
    z = jax.random.normal(jax.random.key(0), (2, 6))
    path = interpolate(z, factor * z, 3)
    np.testing.assert_allclose(path[1], 0.5 * (1 + factor) * z, atol=1e-5)


def test_temperature_scales_and_nonsense_is_refused():
    z = jnp.ones((2, 3))
    np.testing.assert_array_equal(temper(z, 0.5), 0.5 * z)
    with pytest.raises(ValueError, match="must not be negative"):
        temper(z, -1.0)
    with pytest.raises(ValueError, match="at least 2"):
        interpolate(z, z, 1)
