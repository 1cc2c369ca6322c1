"""EDM's augmentation: what each label does, how often, and that the network gets it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from corruption.predictions import Gaussian
from training import augment
from training.objectives.score_matching import independent, score_matching


def image(height=6, width=8):
    return np.random.default_rng(0).normal(size=(height, width, 2)).astype(np.float32)


def warped(x, **label):
    vector = jnp.zeros(9)
    for name, value in label.items():
        vector = vector.at[NAMES.index(name)].set(value)
    return np.asarray(augment.warp(jnp.asarray(x), augment.matrix(vector, *x.shape[:2])))


NAMES = ("x_flip", "y_flip", "scale", "cos", "sin", "stretch_x", "stretch_y", "right", "down")
EXACT = {"atol": 1e-5}  # float32, coordinates of a few pixels


def test_a_label_of_zeros_changes_nothing():
    np.testing.assert_allclose(warped(image()), image(), **EXACT)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ({"x_flip": 1}, image()[:, ::-1]),
        ({"y_flip": 1}, image()[::-1]),
        ({"x_flip": 1, "y_flip": 1}, image()[::-1, ::-1]),
        ({"cos": -2, "sin": 0}, image()[::-1, ::-1]),  # half a turn
    ],
)
def test_flips_and_half_turns_are_exact(label, expected):
    np.testing.assert_allclose(warped(image(), **label), expected, **EXACT)


def test_a_quarter_turn_takes_x_to_y():
    x = image(6, 6)
    turned = warped(x, cos=-1, sin=1)
    np.testing.assert_allclose(turned, np.rot90(x, -1), **EXACT)  # y goes down: clockwise on the screen


def test_a_translation_moves_an_eighth_of_a_side_and_mirrors_what_comes_in():
    x = image(8, 16)
    moved = warped(x, right=1, down=-1)  # two pixels right, one up
    np.testing.assert_allclose(moved[:-1, 2:], x[1:, :-2], **EXACT)
    np.testing.assert_allclose(moved[:-1, :2], x[1:, 2:0:-1], **EXACT)


def test_scaling_and_stretching_have_the_eigenvalues_of_their_definition():
    vector = jnp.zeros(9).at[2].set(3.0)
    np.testing.assert_allclose(augment.matrix(vector, 4, 4), np.diag([2**0.6, 2**0.6, 1]), rtol=1e-6)
    b, n = 0.7, -2.0
    vector = jnp.zeros(9).at[5].set(n * np.cos(2 * b)).at[6].set(n * np.sin(2 * b))
    found = np.asarray(augment.matrix(vector, 4, 4), np.float64)
    direction = np.array([np.cos(b), np.sin(b), 0])
    np.testing.assert_allclose(found @ direction, 2 ** (0.2 * n) * direction, atol=1e-6)  # float32
    assert np.linalg.det(found) == pytest.approx(1, rel=1e-6)


def test_each_change_is_made_as_often_as_it_should_be():
    labels = np.asarray(jax.vmap(lambda key: augment.sample_label(key, 0.4))(jax.random.split(jax.random.key(0), 4000)))
    often = (labels != 0).mean(axis=0)
    expected = np.array([0.2, 0.2, *[0.4] * 7])
    # Four standard deviations of a share of 4,000.
    np.testing.assert_allclose(often, expected, atol=4 * 0.5 / np.sqrt(4000))
    assert labels[labels[:, 2] != 0, 2].std() == pytest.approx(1, abs=4 / np.sqrt(2 * 1600))
    assert (labels[:, 3] != 0).tolist() == (labels[:, 4] != 0).tolist()


def test_an_example_is_changed_by_its_own_key_alone_and_not_at_all_with_probability_zero():
    x = jnp.asarray(np.stack([image(), image()[::-1], image()]))
    keys = jax.random.split(jax.random.key(1), 3)
    changed, labels = augment.augment(keys, x, 1.0)
    alone, label = augment.augment(keys[1:2], x[1:2], 1.0)
    np.testing.assert_allclose(alone[0], changed[1], **EXACT)
    np.testing.assert_array_equal(label[0], labels[1])
    same, none = augment.augment(keys, x, 0.0)
    np.testing.assert_allclose(same, x, **EXACT)
    assert not none.any()


def test_the_network_gets_the_labels_in_training_and_nothing_is_transformed_in_evaluation():
    labels = []

    def predict_of(params, batch, dropout_key):
        labels.append(batch.get("augment"))
        return lambda x, t: Gaussian(x, x)

    class Still:  # x_t = x_0, so that the loss is that of the data which the network gets
        perturb = staticmethod(lambda x0, t, z: x0)
        mean_coeff = std = staticmethod(jnp.ones_like)

    loss = score_matching(
        predict_of,
        Still(),
        lambda keys, batch: batch["x"],
        independent(lambda u: (u, jnp.ones_like(u))),
        reduce_mean=True,
        augment=lambda keys, x: (x + 5, jnp.ones((len(x), 9))),
    )
    keys, batch = jax.random.split(jax.random.key(0), 2), {"x": jnp.zeros((2, 2, 2, 1))}
    evaluated, trained = (
        loss({"params": {}}, keys, batch, dropout_key, jnp.int32(0)).losses["score_matching"]
        for dropout_key in (None, jax.random.key(1))
    )
    assert labels[0] is None and labels[1].shape == (2, 9)
    assert (trained > evaluated + 5).all()
