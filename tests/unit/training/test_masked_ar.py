"""Losses of texts and of tokens."""

import jax
import jax.numpy as jnp
import numpy as np

from core.keys import example_keys
from training.objectives.masked_ar import kinds, mean_over, text_nats, where_kind


def test_a_text_counts_up_to_its_first_end():
    text = jnp.array([[2, 0, 0, 0], [1, 2, 1, 2], [0, 1, 1, 1]])
    logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))[None, None].repeat(3, 0).repeat(4, 1)
    nats = -np.log([0.5, 0.3, 0.2])
    expected = [[nats[2], nats[0], 0, 0], [nats[1], nats[2], nats[1], nats[2]], [nats[0], 0, 0, 0]]
    np.testing.assert_allclose(text_nats(logits, text), expected, rtol=1e-6)


def test_kinds_have_their_shares_and_losses_of_a_kind_its_mean():
    kind = np.asarray(kinds(example_keys(jax.random.key(0), 4000), (0.5, 0.0, 0.5)))
    assert set(kind) == {0, 2} and abs((kind == 0).mean() - 0.5) < 0.035  # four standard errors
    losses = where_kind(jnp.arange(4.0), jnp.array([True, False, True, False]), 0.5)
    assert float(losses.mean()) == 1.0  # that of 0 and 2
    np.testing.assert_array_equal(mean_over(jnp.array([[1.0, 5.0]]), jnp.array([[True, False]])), [1.0])
