"""Networks that are told classes: what they are told in training, with dropout of labels, and without a class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.objective import make_objective
from builders.process import make_sde
from builders.score import example_inputs, log_class_probability, make_condition, make_network
from tests.support.configs import load


@pytest.fixture
def config():
    config = load("configs/subvp/digits_ddpmpp_conditional.py")
    config.model.label_dropout = 0.25
    return config


def test_the_share_of_classes_that_is_withheld_is_that_of_the_config(config):
    condition = make_condition(config)
    x, labels = jnp.zeros((4000, 1)), jnp.arange(4000) % 10
    told = condition(x, {"label": labels}, jax.random.key(0))["labels"]
    withheld = np.asarray(told) == 10
    np.testing.assert_array_equal(np.asarray(told)[~withheld], np.asarray(labels)[~withheld])
    # Five standard deviations of a share of 4000.
    assert withheld.mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 4000))


def test_without_a_dropout_key_all_classes_are_told_and_without_labels_none(config):
    condition = make_condition(config)
    np.testing.assert_array_equal(condition(jnp.zeros((3, 1)), {"label": jnp.arange(3)}, None)["labels"], [0, 1, 2])
    np.testing.assert_array_equal(condition(jnp.zeros((3, 1)), {}, None)["labels"], [10, 10, 10])


def test_a_network_of_no_classes_is_told_nothing(config):
    config.model.num_labels = 0
    assert make_condition(config)(jnp.zeros((3, 1)), {"label": jnp.arange(3)}, jax.random.key(0)) is None


def test_a_network_that_cannot_be_told_a_class_is_refused(config):
    config.model.name = "ddpm"
    with pytest.raises(
        ValueError, match="the network 'ddpm' cannot be conditioned on a class; use ncsnpp or mlp or wideresnet"
    ):
        make_network(config)


def test_a_classifier_needs_classes():
    config = load("configs/subvp/digits_classifier.py")
    config.model.num_labels = 0
    with pytest.raises(ValueError, match="num_labels = 0; set it to the number of classes"):
        make_network(config)


def test_the_loss_of_a_classifier_is_the_cross_entropy_at_the_noise_level_of_the_time():
    config = load("configs/subvp/digits_classifier.py")
    config.model.update(num_labels=3, channel_multiplier=1)
    network = make_network(config)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *example_inputs(config)[:2])["params"]
    draw = np.random.default_rng(0)
    params = jax.tree.map(lambda a: draw.normal(scale=0.2, size=a.shape).astype(np.float32), shapes)
    sde = make_sde(config)
    x, t, labels = jax.random.normal(jax.random.key(1), (2, 8, 8, 1)), jnp.array([0.1, 0.9]), jnp.array([2, 0])
    found = jax.jit(log_class_probability(config, sde)(params, labels, None))(x, t)
    logits = jax.jit(network.apply)({"params": params}, x, sde.std(t) / sde.mean_coeff(t))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, np.log(probabilities[[0, 1], [2, 0]]), rtol=1e-5)
    per_example = jax.jit(make_objective(config, 17))
    batch = {"x": np.full((2, 8, 8, 1), 8, np.uint8), "label": labels}
    losses = per_example(params, jax.random.split(jax.random.key(2), 2), batch, None)
    assert losses.shape == (2,) and np.all(losses > 0)
