"""Tokenizers: what their formulas say, codebooks that are learned, and principal components."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from models.networks.autoencoder import Decoder, Encoder, from_patches, to_patches
from models.tokenizers.autoencoder import AutoEncoder
from models.tokenizers.codebook import VectorQuantizer, k_means, squared_distances
from models.tokenizers.normal import NormalLatents
from models.tokenizers.pca import PrincipalComponents

KEYS = example_keys(jax.random.key(0), 4)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("shape", "factor"), [((6,), 2), ((6, 2), 3), ((4, 6, 3), 2), ((4, 4, 2, 1), 2)])
def test_patches_of_any_rank_come_back(shape, factor):
    x = jnp.arange(2 * math.prod(shape)).reshape(2, *shape)
    patches = to_patches(x, factor)
    sides = [side // factor for side in shape[:-1]]
    assert patches.shape == (2, *sides, factor ** (len(shape) - 1) * shape[-1])
    np.testing.assert_array_equal(from_patches(patches, factor), x)


def test_a_patch_is_what_lies_together():
    x = jnp.arange(16).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(to_patches(x, 2)[0, 1, 0], [8, 9, 12, 13])


@pytest.mark.parametrize("kind", ["patch", "conv"])
@pytest.mark.parametrize("shape", [(8, 2), (4, 4, 1), (4, 4, 4, 1)])
def test_encoder_and_decoder_have_the_shapes_that_they_say(kind, shape):
    common = {"factor": 2, "nf": 4, "num_blocks": 1}
    encoder, decoder = Encoder(kind, num_outputs=3, **common), Decoder(kind, num_channels=shape[-1], **common)
    x, sides = jnp.zeros((1, *shape)), tuple(side // 2 for side in shape[:-1])
    z, _ = jax.eval_shape(lambda: encoder.init_with_output(jax.random.key(0), x))
    assert z.shape == (1, *sides, 3)
    y, _ = jax.eval_shape(lambda: decoder.init_with_output(jax.random.key(0), jnp.zeros((1, *sides, 3))))
    assert y.shape == x.shape


def test_a_patch_encoder_sees_its_own_patch_only():
    encoder = Encoder("patch", 2, 4, 1, 3)
    x = normal(0, 1, 4, 4, 1)
    variables = encoder.init(jax.random.key(0), x)
    other = x.copy()
    other[0, 0, 0, 0] += 1
    changed = np.abs(encoder.apply(variables, x) - encoder.apply(variables, other)).max(axis=-1)[0] > 0
    np.testing.assert_array_equal(changed, [[True, False], [False, False]])


def test_the_nearest_vector_is_chosen():
    features, vectors = normal(1, 20, 3), normal(2, 7, 3)
    expected = ((features[:, None] - vectors[None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(features, vectors), expected, atol=1e-5)  # rounding of sums of squares
    quantizer = VectorQuantizer(7, 3)
    tokens = quantizer.to_codes(quantizer.with_vectors({}, vectors), jnp.asarray(features))
    np.testing.assert_array_equal(tokens[:, 0], expected.argmin(1))


def test_the_gradient_goes_straight_through_and_that_of_the_codebook_to_the_vectors():
    quantizer, features = VectorQuantizer(5, 2), jnp.asarray(normal(3, 4, 3, 2))
    variables = quantizer.with_vectors({}, normal(4, 5, 2))
    weights = normal(5, 4, 3, 2)

    def through(features):
        return jnp.sum(weights * quantizer(variables, features, KEYS, train=False).latents)

    np.testing.assert_allclose(jax.grad(through)(features), weights, rtol=1e-6)

    def codebook(vectors):
        return jnp.mean(quantizer(quantizer.with_vectors({}, vectors), features, KEYS, train=False).losses["codebook"])

    vectors = quantizer.vectors(variables)
    chosen = np.asarray(quantizer.to_codes(variables, features)).ravel()
    expected = np.zeros((5, 2))
    for k, feature in zip(chosen, np.asarray(features).reshape(-1, 2), strict=True):
        expected[k] += 2 * (np.asarray(vectors)[k] - feature) / features.size
    np.testing.assert_allclose(jax.grad(codebook)(vectors), expected, atol=1e-6)


def test_a_moving_average_is_that_of_the_features_of_each_code():
    quantizer, features = VectorQuantizer(2, 1, "average", decay=0.9), jnp.asarray([[[0.0]], [[0.2]], [[0.3]], [[5.0]]])
    variables = quantizer.with_vectors({}, np.array([[0.0], [4.0]], np.float32))
    found = quantizer(variables, features, KEYS, train=True).collections["codebook"]
    shares = 0.9 * 0.5 + 0.1 * np.array([0.75, 0.25])
    sums = 0.9 * np.array([0.0, 2.0]) + 0.1 * np.array([0.5, 5.0]) / 4
    np.testing.assert_allclose(found["shares"], shares, rtol=1e-6)
    np.testing.assert_allclose(found["sums"][:, 0], sums, rtol=1e-6)
    np.testing.assert_allclose(quantizer.vectors({"codebook": found})[:, 0], sums / shares, rtol=2e-5)  # smoothed
    assert not quantizer(variables, features, KEYS, train=False).collections


def test_it_converges_to_the_means_of_the_clusters():
    quantizer = VectorQuantizer(2, 1, "average", decay=0.5)
    variables = quantizer.with_vectors({}, np.array([[-1.0], [1.0]], np.float32))
    features = jnp.asarray([[[-3.0]], [[-1.0]], [[2.0]], [[4.0]]])
    for _ in range(40):
        variables = quantizer(variables, features, KEYS, train=True).collections
    np.testing.assert_allclose(quantizer.vectors(variables)[:, 0], [-2, 3], rtol=1e-4)  # smoothing is 2e-5


def test_a_dead_code_becomes_a_feature_of_the_batch_and_the_others_stay():
    features = jnp.asarray(normal(6, 4, 3, 2))
    kept, restarted = (VectorQuantizer(3, 2, "average", 0.9, below) for below in (0.0, 0.95))
    far = np.array([[0.0, 0.0], [1.0, 1.0], [90.0, 90.0]], np.float32)
    variables = kept.with_vectors({}, far)
    without, found = (quantizer(variables, features, KEYS, train=True).collections for quantizer in (kept, restarted))
    dead = np.asarray(without["codebook"]["shares"]) < 0.95 / 3
    assert dead[2] and not dead.all()
    before, after = (np.asarray(kept.vectors(each)) for each in (without, found))
    distances = np.abs(after[dead][:, None] - np.asarray(features).reshape(1, -1, 2)).max(-1).min(1)
    np.testing.assert_allclose(distances, 0, atol=1e-4)  # smoothing is 2e-5 of values up to 3
    np.testing.assert_allclose(after[~dead], before[~dead], rtol=1e-4)


def test_k_means_is_repeatable_uses_every_code_and_names_what_is_missing():
    features = normal(7, 300, 2)
    first, second = k_means(features, 16, 0), k_means(features, 16, 0)
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(np.argmin(squared_distances(features, first), 1))) == 16
    with pytest.raises(ValueError, match="num_codes = 16, but k-means got 300 encoder features, 2 of them different"):
        k_means(np.tile(np.eye(2, dtype=np.float32), (150, 1)), 16, 0)


def test_the_divergence_of_normal_latents_is_its_integral():
    quantizer = NormalLatents(2, num_dims=5)
    features = jnp.asarray(normal(8, 4, 3, 4))
    q = quantizer.posterior(features)
    found = quantizer(None, features, KEYS, train=True)
    mean, std = np.asarray(q.mean), np.asarray(q.std)
    z = mean + std * normal(9, 20_000, 4, 3, 2)
    log_q = -0.5 * ((z - mean) / std) ** 2 - np.log(std)
    samples = (log_q + 0.5 * z**2).sum(axis=(2, 3)) / 5
    error = samples.std(0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(0) - np.asarray(found.losses["kl"])) < 4 * error).all()  # four standard errors
    assert quantizer.to_codes({}, features).shape == (4, 3, 2)


def test_all_principal_components_are_a_rotation_and_few_are_the_best_ones():
    x = jnp.asarray(normal(10, 200, 4, 4, 1)) * jnp.arange(1, 5)[None, None, :, None]
    full, few = PrincipalComponents((4, 4, 1), 2, 4), PrincipalComponents((4, 4, 1), 2, 2)
    variables = full.start(full.init(jax.random.key(0)), [x[:50], x[50:]], 0)
    W = np.asarray(variables["params"]["components"])
    np.testing.assert_allclose(W.T @ W, np.eye(4), atol=1e-5)  # float32
    assert full.is_bijective and not few.is_bijective and few.code_shape == (2, 2, 2)
    np.testing.assert_allclose(full.decode(variables, full.encode(variables, x)), x, atol=1e-5)
    some = few.start(few.init(jax.random.key(0)), [x], 0)
    np.testing.assert_allclose(some["params"]["components"], W[:, :2], atol=1e-5)
    error = np.mean(np.sum((np.asarray(few.decode(some, few.encode(some, x))) - x) ** 2, axis=(1, 2, 3)))
    patches = np.asarray(to_patches(x, 2)).reshape(-1, 4).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(np.cov(patches.T, bias=True))
    assert error == pytest.approx(4 * eigenvalues[:2].sum(), rel=1e-4)  # what the components left out have, per patch


def test_refit_rebuilds_the_codebook_from_features_of_the_encoder_alone():
    common = {"factor": 2, "nf": 4, "num_blocks": 0}
    encoder, decoder = Encoder("patch", num_outputs=4, **common), Decoder("patch", num_channels=1, **common)
    tokenizer = AutoEncoder((4, 4, 1), (2, 2), 4, encoder, decoder, VectorQuantizer(8, 4), reservoir=100)
    x = jnp.asarray(normal(11, 60, 4, 4, 1))
    before = tokenizer.init(jax.random.key(1))
    after = tokenizer.start(before, [x], 0)
    used = [len(np.unique(tokenizer.encode(each, x))) for each in (before, after)]
    assert used[1] == 8
    jax.tree.map(np.testing.assert_array_equal, after["params"]["encoder"], before["params"]["encoder"])
    jax.tree.map(np.testing.assert_array_equal, after["params"]["decoder"], before["params"]["decoder"])
    assert tokenizer.code_shape == (2, 2, 1) and tokenizer.num_codes == 8
