"""Residual quantization: sums of codes, the cells around them, and codebooks that are learned a level at a time."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption import residual
from data.stock import load
from models.networks.autoencoder import Decoder, Encoder
from models.tokenizers.autoencoder import AutoEncoder
from models.tokenizers.codebook import VectorQuantizer
from models.tokenizers.rvq import ResidualQuantizer, settled

KEYS = example_keys(jax.random.key(0), 4)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def codebook(seed, depth, num, dim, ratio=0.4):
    return jnp.asarray(normal(seed, depth, num, dim) * ratio ** np.arange(depth, dtype=np.float32)[:, None, None])


@functools.cache
def digits():
    """The tokenizer of 2x2 patches of the digits, by k-means alone, and test images in its range."""
    train, test = (
        load("digits", split).fetch(np.arange(n))["x"] / 8 - 1 for split, n in (("train", 1400), ("test", 290))
    )
    ends = {"factor": 2, "nf": 4, "num_blocks": 0}
    raw = Encoder("raw", num_outputs=4, **ends), Decoder("raw", num_channels=1, **ends)
    tokenizer = AutoEncoder((8, 8, 1), (4, 4), 4, *raw, ResidualQuantizer(VectorQuantizer(16, 4), 4), 20_000)
    variables = tokenizer.start(tokenizer.init(jax.random.key(0)), [jnp.asarray(train, jnp.float32)], 0)
    return tokenizer, variables, jnp.asarray(test, jnp.float32)


def test_four_levels_of_the_digits_have_the_quality_that_was_measured_and_come_back():
    tokenizer, variables, x = digits()
    encode = jax.jit(tokenizer.encode)
    tokens = encode(variables, x)
    assert tokenizer.code_shape == (4, 4, 4) == tokens.shape[1:]
    for depth, expected in enumerate((18.6, 23.8, 28.4, 32.6), start=1):
        error = np.asarray((tokenizer.decode(variables, tokens[..., :depth]) - x) / 2) ** 2
        assert np.mean(-10 * np.log10(error.mean(axis=(1, 2, 3)))) == pytest.approx(expected, abs=1)
    np.testing.assert_array_equal(encode(variables, tokenizer.decode(variables, tokens)), tokens)


def test_tokens_are_the_nearest_codes_of_what_is_left_from_a_level_on():
    vectors, z, first = np.asarray(codebook(1, 3, 5, 2)), normal(2, 40, 2), np.arange(40) % 4
    found = residual.quantized(jnp.asarray(vectors), jnp.asarray(z), jnp.asarray(first))
    for row, left, start in zip(np.asarray(found), z, first, strict=True):
        for j in range(start, 3):
            k = ((left - vectors[j]) ** 2).sum(-1).argmin()
            assert row[j] == k
            left = left - vectors[j, k]
        assert not row[:start].any()
    masked = jnp.where(jnp.arange(3)[None] >= 1, 5, found)  # 5 is the mask
    np.testing.assert_allclose(residual.total(jnp.asarray(vectors), masked), vectors[0][found[:, 0]], rtol=1e-6)


@pytest.mark.parametrize("first", [0, 1])
def test_a_ball_of_the_radius_of_a_cell_is_in_it_and_a_larger_one_is_not(first):
    vectors = codebook(3, 2, 4, 2)
    tokens = jnp.asarray(list(itertools.product(range(4), repeat=2)))
    tokens = jnp.where(jnp.arange(2)[None] >= first, tokens, 0)
    start = jnp.full(len(tokens), first)
    radius = residual.cell_radius(vectors, tokens, start)
    z = residual.total(vectors, jnp.where(jnp.arange(2)[None] >= first, tokens, 4))
    back = jnp.all(residual.quantized(vectors, z, start) == tokens, axis=-1)
    np.testing.assert_array_equal(back, radius > 0)
    angle = jnp.linspace(0, 2 * jnp.pi, 720)
    circle = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)

    def all_back(scale):
        moved = z[:, None] + scale * radius[:, None, None] * circle[None]
        found = residual.quantized(vectors, moved, jnp.full(moved.shape[:-1], first))
        return np.asarray(jnp.all(found == tokens[:, None], axis=(1, 2)))

    inside = np.asarray(radius > 0)
    assert inside.any() and all_back(0.999)[inside].all() and not all_back(1.01)[inside].any()
    assert np.isinf(residual.cell_radius(vectors, tokens, jnp.full(len(tokens), 2))).all()  # nothing to quantize


def test_tokens_come_back_wherever_some_do():
    vectors = codebook(4, 3, 6, 2, ratio=0.6)
    every = jnp.asarray(list(itertools.product(range(6), repeat=3)))
    sums = residual.total(vectors, every)
    comes_back = residual.cell_radius(vectors, every, jnp.zeros(len(every), jnp.int32)) > 1e-5
    assert 0 < int(comes_back.sum()) < len(every)
    encode = jax.jit(settled)
    np.testing.assert_array_equal(encode(vectors, sums)[comes_back], every[comes_back])
    features = jnp.asarray(normal(5, len(every), 2))
    tokens = encode(vectors, features)
    again = encode(vectors, residual.total(vectors, tokens))
    assert np.mean(np.all(again == tokens, axis=-1)) >= 0.99
    nearest = np.min(np.sum((features[:, None] - sums[None]) ** 2, -1), axis=1)
    found = np.sum((features - residual.total(vectors, tokens)) ** 2, -1)
    assert (found >= nearest - 1e-6).all()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("learned", ["gradient", "average"])
def test_each_level_learns_from_what_the_levels_before_it_leave(learned, shared):
    level = VectorQuantizer(4, 2, learned, decay=0.9)
    quantizer = ResidualQuantizer(level, 2, shared)
    features, books = jnp.asarray(normal(6, 4, 3, 2)), codebook(7, 1 if shared else 2, 4, 2)
    variables = quantizer.with_vectors({}, books)
    vectors = quantizer.vectors(variables)
    found = jax.jit(functools.partial(quantizer, train=True))(variables, features, KEYS)
    tokens = residual.quantized(vectors, features, jnp.zeros(features.shape[:-1], jnp.int32))
    own = residual.codes(vectors, tokens)
    np.testing.assert_allclose(found.latents, own.sum(axis=-2), atol=1e-6)
    left = [features, features - own[..., 0, :]]
    expected = sum(jnp.mean((r - own[..., j, :]) ** 2, axis=(1, 2)) for j, r in enumerate(left))
    np.testing.assert_allclose(found.losses["commitment"], expected, rtol=1e-5)
    if learned == "average":
        alone = [level(level.with_vectors({}, vectors[j]), r, KEYS, train=True).collections for j, r in enumerate(left)]
        sums = np.stack([each["codebook"]["sums"] for each in alone])
        sums = sums.mean(axis=0, keepdims=True) if shared else sums
        np.testing.assert_allclose(found.collections["codebook"]["sums"], sums, atol=1e-6)


def test_the_gradient_goes_straight_through_all_levels():
    quantizer, features, weights = (
        ResidualQuantizer(VectorQuantizer(4, 2), 3),
        jnp.asarray(normal(8, 4, 2)),
        normal(9, 4, 2),
    )
    variables = quantizer.with_vectors({}, codebook(10, 3, 4, 2))
    through = jax.jit(jax.grad(lambda f: jnp.sum(weights * quantizer(variables, f, KEYS, train=False).latents)))
    np.testing.assert_allclose(through(features), weights, rtol=1e-6)


def test_dropout_decodes_the_first_levels_a_uniform_number_of_them():
    num, depth = 3000, 3
    vectors = jnp.asarray([[[1.0]], [[10.0]], [[100.0]]])
    quantizer = ResidualQuantizer(VectorQuantizer(1, 1), depth, dropout=0.5)
    variables, features = quantizer.with_vectors({}, vectors), jnp.zeros((num, 1))
    keys = example_keys(jax.random.key(1), num)
    decoded = jax.jit(
        lambda keys, train: quantizer(variables, features, keys, train=train).latents[:, 0], static_argnums=1
    )
    sums = np.asarray(decoded(keys, True))
    values, counts = np.unique(sums, return_counts=True)
    np.testing.assert_array_equal(values, [1, 11, 111])
    np.testing.assert_allclose(counts / num, [1 / 6, 1 / 6, 2 / 3], atol=5 * np.sqrt(0.25 / num))
    assert (decoded(keys, False) == 111).all()


def test_k_means_fits_each_level_to_the_rest_and_a_shared_codebook_to_all():
    features = normal(11, 400, 3)
    each, one = (ResidualQuantizer(VectorQuantizer(8, 3), 3, shared) for shared in (False, True))
    errors = []
    for quantizer in (each, one):
        variables = quantizer.start(quantizer.init(jax.random.key(0)), features, 0)
        vectors = quantizer.vectors(variables)
        tokens = jax.jit(residual.quantized)(vectors, features, jnp.zeros(len(features), jnp.int32))
        sums = np.cumsum(np.asarray(jax.jit(residual.codes)(vectors, tokens)), axis=1)
        errors.append(((sums - features[:, None]) ** 2).mean(axis=(0, 2)))
    assert variables["params"]["codebook"]["vectors"].shape == (1, 8, 3)
    for found in errors:
        assert found[0] > found[1] > found[2]
    assert errors[0][2] < 0.3 * errors[0][0] and errors[1][2] < 0.7 * errors[1][0]
