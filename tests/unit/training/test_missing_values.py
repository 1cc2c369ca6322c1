"""Values that are marked as missing do not count in the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption.predictions import Gaussian
from sde.times import uniform
from sde.vp import VP
from training.objectives.score_matching import independent, score_matching

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 2)), jnp.float32)
MASK = jnp.asarray(np.random.default_rng(1).integers(0, 2, X.shape), jnp.uint8).at[2].set(0)


def losses(reduce_mean, batch):
    """Of a prediction that is wrong by its input, so that it depends on every value."""

    def predict_of(params, batch, dropout_key):
        return lambda x, t: Gaussian(0.3 * x, 0.5 * x)

    objective = score_matching(
        predict_of, VP(), lambda keys, batch: batch["x"], independent(uniform(1e-3)), reduce_mean=reduce_mean
    )
    return jax.jit(lambda batch: objective({"params": {}}, example_keys(jax.random.key(0), 3), batch, None, 0))(batch)


@pytest.mark.parametrize("reduce_mean", [True, False])
def test_a_mask_of_ones_changes_nothing_and_missing_values_do_not_matter(reduce_mean):
    of = lambda **batch: losses(reduce_mean, batch).losses["score_matching"]  # noqa: E731
    plain = of(x=X)
    np.testing.assert_allclose(of(x=X, x_mask=jnp.ones_like(MASK)), plain, rtol=1e-6)
    other = jnp.where(MASK == 1, X, 1e3)
    found = of(x=X, x_mask=MASK)
    np.testing.assert_allclose(of(x=other, x_mask=MASK), found, rtol=1e-6)
    assert (np.abs(found - plain)[:2] > 1e-3).all() and found[2] == 0
    channel = jnp.ones((3, 5), jnp.uint8).at[:, 2:].set(0)  # one mask for all channels
    whole = jnp.broadcast_to(channel[..., None], X.shape)
    np.testing.assert_allclose(of(x=X, x_mask=channel), of(x=X, x_mask=whole), rtol=1e-6)


def test_the_mean_is_over_what_is_known():
    mask = jnp.zeros(X.shape, jnp.uint8).at[:, :2].set(1)
    mean, half_sum = (losses(mode, {"x": X, "x_mask": mask}).losses["score_matching"] for mode in (True, False))
    np.testing.assert_allclose(mean * 4 / 2, half_sum, rtol=1e-5)
