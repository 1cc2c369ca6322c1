"""The transformer of categories: what it sees, what its output is, and its positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.blocks import rotary
from models.blocks.conditioning import Embedding
from models.heads.ordered import logistic
from models.networks.token_transformer import TokenTransformer

SHAPE = (4, 4, 2)
SMALL = {"num_categories": 5, "num_states": 6, "shape": SHAPE, "nf": 4, "num_blocks": 2, "num_heads": 2}


def random_params(network, *given):
    """Parameters that are all different from zero, without compiling an initialization."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), *given)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: rng.normal(scale=0.3, size=a.shape).astype(a.dtype), shapes)


@pytest.fixture(scope="module")
def applied():
    """A network with classes, its input, and `apply(x, time, labels)`."""
    network = TokenTransformer(**SMALL, embedding=Embedding(num_classes=4))
    x = jnp.asarray(np.random.default_rng(1).integers(0, 6, (2, *SHAPE)))
    time = jnp.array([10.0, 500.0])
    params = random_params(network, x, time, {"labels": jnp.zeros(2, jnp.int32)})
    apply = jax.jit(lambda x, time, labels: network.apply({"params": params}, x, time, {"labels": labels}))
    return network, params, x, time, apply


def test_every_site_sees_all_others_the_time_and_the_class(applied):
    *_, x, time, apply = applied
    labels = jnp.array([1, 2])
    out = apply(x, time, labels)
    assert out.shape == (2, *SHAPE, 5) and out.dtype == jnp.float32
    changed = apply(x.at[0, 3, 3, 1].set((x[0, 3, 3, 1] + 1) % 6), time, labels)
    assert (np.abs(changed[0] - out[0]).max(-1) > 1e-5).all()  # bidirectional: the first site, too
    np.testing.assert_array_equal(changed[1], out[1])
    for other in (apply(x, time + 50, labels), apply(x, time, labels + 1)):
        assert (np.abs(other - out).max((-1, -2)) > 1e-5).all()


def test_recomputed_blocks_have_the_same_parameters_and_values(applied):
    network, params, x, time, apply = applied
    again = network.copy(remat=True)
    cond = {"labels": jnp.zeros(2, jnp.int32)}
    shapes = jax.eval_shape(again.init, jax.random.key(0), x, time, cond)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
    out = jax.jit(lambda x: again.apply({"params": params}, x, time, cond))(x)
    np.testing.assert_allclose(out, apply(x, time, cond["labels"]), atol=1e-5)


def test_another_shape_or_output_is_one_sentence():
    x, time = jnp.zeros((1, 4, 3, 2), jnp.int32), jnp.ones(1)
    with pytest.raises(ValueError, match=r"Input of shape .*: expected categories \[B, 4, 4, 2\]"):
        jax.eval_shape(TokenTransformer(**SMALL).init, jax.random.key(0), x, time)
    with pytest.raises(ValueError, match="output = 'ordered' is not one of"):
        jax.eval_shape(TokenTransformer(**SMALL, output="ordered").init, jax.random.key(0), x, time)
    with pytest.raises(ValueError, match="at least 6, not 4"):
        rotary.angles((2, 2, 2), 4)


def test_rotated_queries_and_keys_depend_on_the_difference_of_positions():
    sides, width = (5, 5), 16
    q, k = np.random.default_rng(2).normal(size=(2, 1, 1, 1, width)).astype(np.float32)
    theta = rotary.angles(sides, width)
    turned = [rotary.rotate(jnp.broadcast_to(jnp.asarray(a), (1, 25, 1, width)), theta)[0, :, 0] for a in (q, k)]
    products = np.asarray(turned[0] @ turned[1].T).reshape(5, 5, 5, 5)
    np.testing.assert_allclose(products[:-1, :-1, :-1, :-1], products[1:, 1:, 1:, 1:], atol=1e-4)
    assert np.abs(products[0, 0, 0, 1] - products[0, 0, 1, 0]) > 1e-3  # the axes differ
    padded = rotary.angles((2, 2, 2), 8)  # one angle for each axis, and one that turns nothing
    assert padded.shape == (8, 4) and not padded[:, 3].any() and padded[-1, :3].all()


def test_the_logistic_output_is_a_distribution_over_levels_that_follows_its_mean_and_width():
    parameters = jnp.array([[-0.5, 0.0], [0.5, 0.0], [0.5, 2.0], [3.0, -1.0]])
    p = np.asarray(jax.nn.softmax(logistic(parameters, 256)), np.float64)
    levels = (2 * np.arange(256) + 1) / 256 - 1
    mean = p @ levels
    width = np.sqrt(p @ levels**2 - mean**2)
    np.testing.assert_allclose(mean[:2], [-0.5, 0.5], atol=0.05)
    assert width[2] > 2 * width[1] and p[3].argmax() == 255
    # The definition, in double precision, for one of them.
    sigma = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    s = np.exp(-2.0)
    exact = sigma((levels + 1 / 256 - 0.5) / s) - sigma((levels - 1 / 256 - 0.5) / s)
    np.testing.assert_allclose(p[1], exact / exact.sum(), rtol=1e-4)
    gradient = jax.grad(lambda a: jax.nn.log_softmax(logistic(a, 256))[:, 0].sum())(parameters)
    assert np.isfinite(gradient).all()
