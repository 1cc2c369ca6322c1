"""The classifier equals the published one; it does not depend on the scale of its input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.classifier import WideResnet


@pytest.fixture(scope="module")
def published(golden):
    """The golden file, its parameters, and our network compiled with its gradient."""
    file = golden("classifier_wideresnet")
    network = WideResnet(num_labels=10, blocks_per_group=1, channel_multiplier=1)

    @jax.jit
    def run(x, sigma, labels):
        def log_prob(x):
            logits = network.apply({"params": file.params()}, x, sigma)
            return jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).sum(), logits

        (_, logits), gradient = jax.value_and_grad(log_prob, has_aux=True)(x)
        return logits, gradient

    return file, network, run


def test_logits_and_the_gradient_of_the_log_probability_are_the_published_ones(published):
    """The published program subtracts CIFAR-10's mean color and divides by its standard deviation first."""
    file, _, run = published
    mean = np.array([0.49139968, 0.48215841, 0.44653091], np.float32)[None, None, None]
    std = np.array([0.24703223, 0.24348513, 0.26158784], np.float32)[None, None, None]
    logits, gradient = run((file["x"] - mean) / std, file["sigma"], file["class_labels"])
    file.check("logits", logits)
    file.check("log_prob_grad", np.asarray(gradient) / std)
    logits, _ = run(file["x"], file["sigma"], file["class_labels"])
    file.check("logits_no_preprocess", logits)


def test_the_scale_of_the_input_does_not_matter(published):
    file, _, run = published
    logits, _ = run(file["x"], file["sigma"], file["class_labels"])
    scaled, _ = run(2 * file["x"] - 1, file["sigma"], file["class_labels"])
    np.testing.assert_allclose(scaled, logits, atol=1e-4)  # float32 rounding through seven convolutions


def test_parameters_are_named_and_shaped_as_published(published):
    file, network, _ = published
    params = jax.eval_shape(network.init, jax.random.key(0), file["x"], file["sigma"])["params"]
    assert jax.tree.map(lambda a: a.shape, params) == jax.tree.map(lambda a: a.shape, file.params())


def test_an_image_that_cannot_be_halved_twice_is_refused():
    network = WideResnet(num_labels=2, blocks_per_group=1, channel_multiplier=1)
    with pytest.raises(ValueError, match="divisible by 4"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 6, 6, 3)), jnp.ones((1,)))
