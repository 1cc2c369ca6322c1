"""The causal transformer of texts and images: an exact likelihood, what a token knows, and the cache."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.autoregressive import TextThenImage
from core.keys import example_keys
from data.fields import Field
from models.networks.autoregressive import Autoregressive
from models.networks.masked_ar import Sequence
from sampling.raster import Raster

V, K, T, SHAPE = 3, 2, 2, (3, 1)
L = 3
TEXT, IMAGE = jnp.array([[1, 2], [0, 1]]), jnp.array([[1, 0, 1], [0, 1, 1]]).reshape(2, *SHAPE)


def model_of(**fields):
    network = Autoregressive(V, K, T, L, nf=2, num_blocks=2, num_heads=2, **fields)
    return TextThenImage(network, Field((T,), "int32", num_levels=V), SHAPE)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def params(model):
    rng = np.random.default_rng(0)
    form = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), form)


@pytest.fixture(scope="module")
def logp(model, params):
    """`(text, image, kind) -> ln p` of the words [B, T] and pixels [B, L], each given those before it."""

    @jax.jit
    def measure(text, image, kind):
        found, _ = model.logits(params, text, image, kind)
        pick = lambda logits, token: jnp.take_along_axis(jax.nn.log_softmax(logits), token[..., None], -1)[..., 0]  # noqa: E731
        return pick(found.text, text), pick(found.image, image.reshape(len(image), L))

    return measure


def test_the_probabilities_of_all_sequences_add_up_to_one_in_either_order(logp):
    every = itertools.product(itertools.product(range(V), repeat=T), itertools.product(range(K), repeat=L))
    texts, images = (jnp.asarray(part) for part in zip(*every, strict=True))
    images = images.reshape(-1, *SHAPE)
    for kind, given_first in ((Sequence.TEXT_IMAGE, "text"), (Sequence.IMAGE_TEXT, "image")):
        text, image = logp(texts, images, jnp.full(len(texts), kind))
        first, then = (text, image) if given_first == "text" else (image, text)
        np.testing.assert_allclose(jnp.exp(text.sum(1) + image.sum(1)).sum(), 1.0, rtol=1e-5)  # sums of float32
        sums = jnp.exp(then.sum(1)).reshape(V**T, K**L).sum(1 if given_first == "text" else 0)
        np.testing.assert_allclose(sums, 1.0, rtol=1e-5)
        assert np.ptp(np.asarray(first.sum(1)).reshape(V**T, K**L), axis=1 if given_first == "text" else 0).max() < 1e-5


def test_a_token_knows_those_before_it_and_no_others(logp):
    """Which log-probabilities change with a token other than itself; those that must not are equal bit for bit."""
    kinds = jnp.array([Sequence.TEXT_IMAGE, Sequence.IMAGE_TEXT])
    before = jnp.concatenate(logp(TEXT, IMAGE, kinds), axis=1)
    order = np.array([[0, 1, 2, 3, 4], [3, 4, 0, 1, 2]])  # of words and pixels in each kind
    for site in range(T + L):
        text = TEXT.at[:, site].set((TEXT[:, site] + 1) % V) if site < T else TEXT
        image = IMAGE if site < T else IMAGE.at[:, site - T, 0].set(1 - IMAGE[:, site - T, 0])
        changed = np.array(before != jnp.concatenate(logp(text, image, kinds), axis=1))
        later = order > order[:, [site]]
        changed[:, site] = False  # itself
        np.testing.assert_array_equal(changed, later)


@pytest.mark.parametrize("text", [TEXT, None])
def test_the_cache_has_the_logits_of_the_whole_sequence(model, params, text):
    whole = model.image_logits(params, text, IMAGE)
    steps, pixels = model.next_token(params, text), IMAGE.reshape(2, L)
    logits, cache = steps.begin(2)
    found = [logits]
    for i in range(L - 1):
        logits, cache = steps.after(pixels[:, i], jnp.int32(i), cache)
        found.append(logits)
    np.testing.assert_allclose(jnp.stack(found, axis=1), whole, rtol=1e-4, atol=1e-4)  # float32 sums in another order


def test_samples_have_the_probabilities_of_the_likelihood(model, params):
    num = 4000
    text = jnp.tile(TEXT[:1], (num, 1))
    sampler = Raster(L, lambda tokens: tokens.reshape(-1, *SHAPE))
    draw = jax.jit(lambda keys: sampler(keys, model.next_token(params, text), (num, *SHAPE), trajectory=2))
    found = draw(example_keys(jax.random.key(0), num))
    images = jnp.asarray(list(itertools.product(range(K), repeat=L))).reshape(-1, *SHAPE)
    logits = model.image_logits(params, jnp.tile(TEXT[:1], (len(images), 1)), images)
    logp = jnp.take_along_axis(jax.nn.log_softmax(logits), images.reshape(-1, L, 1), -1).sum((1, 2))
    codes = np.asarray(found.x.reshape(num, L)) @ (K ** np.arange(L)[::-1])
    p, share = np.exp(logp), np.bincount(codes, minlength=K**L) / num
    assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / num) + 1e-6).all()
    assert int(found.num_evals) == L and found.states.shape == (2, num, *SHAPE)
    np.testing.assert_array_equal(found.states[-1], found.x)
