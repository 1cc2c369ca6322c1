"""The complete FID InceptionV3 against torch-fidelity's network with the same weights."""

import json

import jax
import numpy as np
import pytest

from builders.features import inception_extractor
from interop.formats import inception_weights
from models import inception
from tests.support import metric_fixtures as recipe

GOLDEN = np.load(recipe.FOLDER / "inception.npz")
SHAPES = json.loads((recipe.FOLDER / "inception_shapes.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def optimized():
    """Compiled as users have it: other slow tests do without optimizations, which rounds differently."""
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    """The features of the network with random weights under PyTorch's names."""
    path = tmp_path_factory.mktemp("weights") / "random.npz"
    np.savez(path, allow_pickle=False, **recipe.inception_state(SHAPES))
    weights = inception_weights.load(path, inception.parameter_shapes())
    return inception_extractor(weights.params, batch_size=2)


@pytest.mark.parametrize("size", list(recipe.IMAGES))
def test_features_and_logits_equal_those_of_torch_fidelity(extractor, size):
    result = extractor(recipe.images(recipe.IMAGES[size]))
    for name in ("features", "logits"):
        target = GOLDEN[f"{size}/{name}"]
        # Two orders of float32 summation through 94 convolutions: 8e-7 of the largest value was measured, which is
        # more than 1e-4 only of values that nearly cancel.
        np.testing.assert_allclose(result[name], target, rtol=1e-4, atol=5e-6 * np.abs(target).max())
        assert np.linalg.norm(result[name] - target) < 5e-6 * np.linalg.norm(target)


def test_features_do_not_depend_on_how_many_images_come_at_once(extractor):
    images = recipe.images((3, 32, 32, 3))
    together, alone = extractor(images), [extractor(images[i : i + 1]) for i in range(3)]
    for name, value in together.items():
        np.testing.assert_array_equal(value, np.concatenate([one[name] for one in alone]))


def test_a_grayscale_image_is_three_equal_channels(extractor):
    gray = recipe.images((2, 32, 32, 1))
    for one, three in zip(extractor(gray).values(), extractor(gray.repeat(3, axis=-1)).values(), strict=True):
        np.testing.assert_array_equal(one, three)
