"""Feature functions: shapes, names, hashes, and one-sentence errors."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.features import inception_extractor
from evaluation.features.imported import imported
from evaluation.features.network import network, tree_hash
from evaluation.features.pixels import pixels
from evaluation.features.thumbnails import thumbnails


def images(num, channels=3, size=4):
    return np.random.default_rng(0).integers(0, 256, (num, size, size, channels), np.uint8)


def mean_color(x):
    return {"features": x.mean((1, 2))}


def wrong(x):
    return {"features": x[:, 0, 0], "more": x}


def short(x):
    return {"features": x[1:, 0, 0]}


def infinite(x):
    return {"features": np.full((len(x), 1), np.inf)}


mean_color.hash = "v1"
NUMBER = 3


def test_pixels_are_flattened_to_the_unit_interval():
    x = images(3)
    result = pixels()(x)["features"]
    assert result.dtype == np.float32 and result.shape == (3, 48)
    np.testing.assert_allclose(result, x.reshape(3, -1) / 255, rtol=1e-6)  # one rounding in float32
    assert pixels(17)(np.full((1, 1, 1, 1), 16, np.uint8))["features"] == 1
    assert pixels(17).hash != pixels().hash and pixels().name == "pixels"


@pytest.mark.parametrize("sides", [(16, 8), (11, 9), (3, 20)])
def test_thumbnails_are_the_means_of_eight_by_eight_cells_of_all_pixels(sides):
    x = np.random.default_rng(0).integers(0, 256, (2, *sides, 3)).astype(np.uint8)
    found = thumbnails()(x)["features"]
    edges = [[k * side // min(8, side) for k in range(min(8, side) + 1)] for side in sides]
    rows, columns = ([slice(*pair) for pair in itertools.pairwise(each)] for each in edges)
    expected = [[x[:, row, column].mean(axis=(1, 2)) for column in columns] for row in rows]  # [rows, columns, 2, 3]
    expected = np.moveaxis(np.array(expected), 2, 0).reshape(2, -1) / 255
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # float32
    assert thumbnails(17).hash != thumbnails().hash


class Small(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.Dense(5)(x.astype(jnp.float32).reshape(len(x), -1) / 255)
        return {"features": h, "logits": nn.Dense(2)(h)}


@pytest.fixture(scope="module")
def params():
    return Small().init(jax.random.key(0), images(1))["params"]


def apply(params, x):
    return Small().apply({"params": params}, x)


def test_a_network_sees_batches_of_one_size_only(params):
    shapes = []

    def noted(params, x):
        shapes.append(x.shape)  # while it is traced
        return apply(params, x)

    extractor = network("small", params, noted, batch_size=4)
    x = images(11)
    results = [extractor(x)] + [extractor(x[:n]) for n in (1, 4, 5)]
    assert shapes == [(4, 4, 4, 3)]
    for result in results:
        assert result["features"].shape[1] == 5 and result["logits"].shape[1] == 2
        np.testing.assert_array_equal(result["features"], results[0]["features"][: len(result["features"])])
    # A matrix product in batches of four and of eleven differs by roundings in float32.
    np.testing.assert_allclose(results[0]["logits"], apply(params, x)["logits"], rtol=1e-5, atol=1e-6)


def test_the_hash_of_a_network_is_that_of_its_parameters(params):
    digest = network("small", params, apply).hash
    assert digest == tree_hash(jax.tree.map(np.asarray, params)) and len(digest) == 64
    changed = jax.tree.map(np.array, params)
    changed["Dense_0"]["kernel"][0, 0] += 1e-3
    assert tree_hash(changed) != digest
    renamed = {"Dense_2" if key == "Dense_1" else key: value for key, value in params.items()}
    assert tree_hash(renamed) != digest


def test_a_function_is_found_by_its_import_path():
    extractor = imported("tests.unit.evaluation.test_features:mean_color")
    x = images(3)
    np.testing.assert_allclose(extractor(x)["features"], x.mean((1, 2)), rtol=1e-6)  # one rounding in float32
    assert extractor.name == "tests.unit.evaluation.test_features:mean_color" and extractor.hash == "v1"
    assert len(imported("tests.unit.evaluation.test_features:short").hash) == 64  # that of this file


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tests.unit.evaluation.test_features", "not of the form package.module:function"),
        (":f", "not of the form"),
        ("tests.absent:f", "tests.absent cannot be imported"),
        ("tests.unit.evaluation.test_features:absent", "has no function absent"),
        ("tests.unit.evaluation.test_features:NUMBER", "has no function NUMBER"),
        ("math:sqrt", "neither a source file nor an attribute hash"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_refused_in_one_sentence(path, reason):
    with pytest.raises(ValueError, match=reason):
        imported(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong", "returned features, more; it must return features and, optionally, logits"),
        ("short", r"returned features \(2, 3\) for 3 images"),
        ("infinite", "returned features that are not finite"),
    ],
)
def test_what_a_function_returns_is_checked(name, reason):
    with pytest.raises(ValueError, match=reason):
        imported(f"tests.unit.evaluation.test_features:{name}")(images(3))


def test_only_examples_of_levels_or_of_float32_have_features(params):
    for bad in (images(2).astype(np.float64), images(2)[:, 0, 0, 0], images(2)[:0]):
        with pytest.raises(ValueError, match=r"expected uint8, uint16 or float32 \[B, ...\]"):
            pixels()(bad)
    with pytest.raises(ValueError, match="batches of 0 images"):
        network("small", params, apply, batch_size=0)
    with pytest.raises(ValueError, match="2 channels; it takes 1 or 3"):
        inception_extractor({}, batch_size=1)(images(1, channels=2))
