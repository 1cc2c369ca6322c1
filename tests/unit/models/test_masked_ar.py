"""The transformer of texts and image tokens: what each token knows of the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.networks.masked_ar import MaskedAR, Sequence

B, T, L, D = 3, 4, 5, 2
KINDS = jnp.array([Sequence.IMAGE_TEXT, Sequence.TEXT_IMAGE, Sequence.IMAGE])


@pytest.fixture(scope="module")
def apply():
    """The network with random parameters, one sequence of each kind."""
    network = MaskedAR(num_tokens=7, text_length=T, num_image_tokens=L, dim=D, nf=2, num_blocks=2, num_heads=2)
    text, image, masked = jnp.zeros((B, T), jnp.int32), jnp.zeros((B, L, D)), jnp.zeros((B, L), bool)
    form = jax.eval_shape(network.init, jax.random.key(0), text, image, masked, KINDS)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), form)
    return jax.jit(lambda text, image, masked: network.apply(params, text, image, masked, KINDS))


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(1)
    masked = jnp.asarray([[False] * L, [True, False, True, False, True], [False, True, True, False, False]])
    return jnp.asarray(rng.integers(0, 7, (B, T))), jnp.asarray(rng.normal(size=(B, L, D)), jnp.float32), masked


def changed(before, after):
    """Where outputs [B, N, ...] of two inputs differ, bool [B, N]; those that must not differ are equal bit for bit."""
    return np.asarray(jnp.any(before != after, axis=-1))


def test_a_later_token_of_the_text_changes_no_earlier_output(apply, given):
    text, image, masked = given
    before = apply(text, image, masked)
    for k in range(T):
        after = apply(text.at[:, k].set((text[:, k] + 1) % 7), image, masked)
        logits, states = changed(before.logits, after.logits), changed(before.image, after.image)
        assert not logits[:, : k + 1].any() and logits[:, k + 1 :].all()
        np.testing.assert_array_equal(states.any(axis=1), [False, True, False])  # of a text and its image alone


def test_the_content_of_masked_tokens_never_leaks(apply, given):
    text, image, masked = given
    before, after = apply(text, image, masked), apply(text, jnp.where(masked[..., None], 99.0, image), masked)
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.image, after.image)


def test_known_tokens_reach_all_of_the_image_and_the_text_only_where_it_follows(apply, given):
    text, image, masked = given
    before, after = apply(text, image, masked), apply(text, jnp.where(masked[..., None], image, image + 1), masked)
    assert changed(before.image, after.image).all()
    np.testing.assert_array_equal(
        changed(before.logits, after.logits), np.array([[True], [False], [False]]).repeat(T, 1)
    )


def test_other_shapes_are_refused(apply, given):
    text, image, masked = given
    with pytest.raises(
        ValueError, match=r"Texts of shape \(3, 3\) and image tokens .*: expected \[B, 4\] and \[B, 5, 2\]"
    ):
        apply(text[:, 1:], image, masked)
