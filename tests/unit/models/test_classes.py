"""Class conditioning: the labels given in training, with label dropout, and without a class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.condition import make_condition
from builders.network import make_network
from tests.support.configs import load


@pytest.fixture
def config():
    config = load("configs/subvp/digits_ddpmpp_conditional.py")
    config.model.label_dropout = 0.25
    return config


def test_the_share_of_dropped_labels_is_that_of_the_config(config):
    condition = make_condition(config)
    x, labels = jnp.zeros((4000, 1)), jnp.arange(4000) % 10
    given = condition(x, {"label": labels}, jax.random.key(0))["labels"]
    dropped = np.asarray(given) == 10
    np.testing.assert_array_equal(np.asarray(given)[~dropped], np.asarray(labels)[~dropped])
    # Five standard deviations of a fraction of 4000.
    assert dropped.mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 4000))


def test_without_a_dropout_key_all_labels_are_given_and_without_labels_none(config):
    condition = make_condition(config)
    np.testing.assert_array_equal(condition(jnp.zeros((3, 1)), {"label": jnp.arange(3)}, None)["labels"], [0, 1, 2])
    np.testing.assert_array_equal(condition(jnp.zeros((3, 1)), {}, None)["labels"], [10, 10, 10])


def test_a_network_without_classes_has_no_condition(config):
    config.model.num_labels = 0
    assert make_condition(config)(jnp.zeros((3, 1)), {"label": jnp.arange(3)}, jax.random.key(0)) is None


def test_a_network_without_class_conditioning_is_refused(config):
    config.model.name = "ddpm"
    with pytest.raises(
        ValueError,
        match="'ddpm' cannot be conditioned on a class; use ncsnpp or mlp or s4_residual or dit or edm2 or wide",
    ):
        make_network(config)


def test_a_classifier_needs_classes():
    config = load("configs/subvp/digits_classifier.py")
    config.model.num_labels = 0
    with pytest.raises(ValueError, match="num_labels = 0; set it to the number of classes"):
        make_network(config)
