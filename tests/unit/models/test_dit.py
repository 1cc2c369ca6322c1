"""The diffusion transformer: published sizes and costs, patches of any rank, what tokens see."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.network import make_network
from configs import default, presets
from models.blocks.conditioning import Embedding
from models.networks.dit import DiT, patchify, sincos, unpatchify
from tests.support.networks import random_params

# Peebles and Xie, table 4, and the parameters of their code: for latents of 32x32x4 and 1,000 classes.
PUBLISHED = {"S": (33, 6.06), "B": (130, 23.01), "L": (458, 80.71), "XL": (675, 118.64)}


def published(size, patch_size=2):
    """DiT-`size`/2 of a config, for latents of ImageNet at 256 pixels."""
    config = default.get_config()
    presets.dit(config, size=size, patch_size=patch_size)
    config.data.update(image_size=32, num_channels=4)
    config.model.num_labels = 1000
    return make_network(config)


def products(jaxpr):
    """Multiplications of all products of matrices in a jaxpr, those of inner ones included."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            ((contracted, _), _) = eqn.params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            total += eqn.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            total += products(inner) if hasattr(inner, "eqns") else 0
    return total


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes_have_the_published_parameters_and_costs(size):
    network = published(size)
    x, time, cond = jnp.zeros((1, 32, 32, 4)), jnp.ones(1), {"labels": jnp.zeros(1, jnp.int32)}
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, time, cond)
    width = 4 * network.nf
    ours = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    # The published network has a second output for every channel, and counts its fixed positions.
    found = ours + (width + 1) * 2 * 2 * 4 + 256 * width
    millions, billions = PUBLISHED[size]
    assert abs(found / 1e6 - millions) < 1  # the paper rounds some up and some down
    if size == "XL":
        assert found == 675_129_632
    costs = products(jax.make_jaxpr(network.apply)(shapes, x, time, cond).jaxpr)
    assert costs / 1e9 == pytest.approx(billions, rel=2e-3)


@pytest.mark.parametrize("shape", [(12, 3), (4, 6, 3), (2, 4, 6, 1)])
def test_patches_are_cut_and_put_together_in_the_order_of_their_positions(shape):
    x = jnp.arange(2.0 * math.prod(shape)).reshape(2, *shape)
    patches = patchify(x, 2)
    rank = len(shape) - 1
    assert patches.shape == (2, math.prod(shape[:-1]) // 2**rank, 2**rank * shape[-1])
    np.testing.assert_array_equal(unpatchify(patches, 2, shape), x)
    corner = (slice(0, 2),) * (rank - 1)
    second = x[(1, *corner, slice(2, 4))]  # along the last side
    np.testing.assert_array_equal(patches[1, 1], second.reshape(-1))


def test_fixed_positions_are_the_sines_and_cosines_of_each_axis():
    found = sincos((2, 3), 8)
    angles = np.array([[row, row / 100, column, column / 100] for row in range(2) for column in range(3)])
    np.testing.assert_allclose(found, np.concatenate([np.sin(angles), np.cos(angles)], axis=1), atol=1e-6)


def twin(params, x, time, label, num_heads):
    """DiT/2 of one image x [H, W, C] by NumPy in double precision, written from the paper: adaLN-Zero, sincos, GELU."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    layer = lambda p, a: a @ p["kernel"] + p["bias"]  # noqa: E731
    silu = lambda a: a / (1 + np.exp(-a))  # noqa: E731
    gelu = lambda a: 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))  # noqa: E731

    def norm(a, shift, scale):
        centered = a - a.mean(-1, keepdims=True)
        return (1 + scale) * centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6) + shift

    frequencies = 10000.0 ** (-np.arange(128) / 127)
    temb = layer(params["Dense_0"], np.concatenate([np.sin(time * frequencies), np.cos(time * frequencies)]))
    c = silu(layer(params["Dense_1"], silu(temb)) + params["Embed_0"]["embedding"][label])
    H, W, C = x.shape
    patches = np.array([x[i : i + 2, j : j + 2].ravel() for i in range(0, H, 2) for j in range(0, W, 2)])
    h = layer(params["Dense_2"], patches)
    D = h.shape[1]
    omega = 10000.0 ** (-np.arange(D // 4) / (D // 4))
    where = np.array([[i, j] for i in range(H // 2) for j in range(W // 2)])
    theta = (where[:, :, None] * omega).reshape(len(where), -1)
    h = h + np.concatenate([np.sin(theta), np.cos(theta)], axis=1)
    for k in range(sum(name.startswith("block_") for name in params)):
        p = params[f"block_{k}"]
        scale, shift, gate = np.split(layer(p["modulation_1"], c), 3)
        q, key, v = (
            a.reshape(len(h), num_heads, -1).transpose(1, 0, 2)
            for a in np.split(layer(p["Dense_0"], norm(h, shift, scale)), 3, axis=1)
        )
        logits = q @ key.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        r = (weights / weights.sum(-1, keepdims=True)) @ v
        h = h + gate * layer(p["Dense_1"], r.transpose(1, 0, 2).reshape(h.shape))
        scale, shift, gate = np.split(layer(p["modulation_2"], c), 3)
        h = h + gate * layer(p["Dense_2"], gelu(layer(p["Dense_3"], norm(h, shift, scale))))
    scale, shift = np.split(layer(params["modulation"], c), 2)
    out = layer(params["Dense_3"], norm(h, shift, scale)).reshape(H // 2, W // 2, 2, 2, C)
    return out.transpose(0, 2, 1, 3, 4).reshape(H, W, C)


def test_the_forward_pass_is_that_of_a_twin_in_numpy():
    network = DiT(nf=8, num_blocks=2, num_heads=4, num_channels=3, embedding=Embedding(num_classes=4))
    x, time, labels = jax.random.normal(jax.random.key(0), (2, 4, 6, 3)), jnp.array([10.0, 500.0]), jnp.array([1, 3])
    params = random_params(network, x, {"labels": labels})
    out = jax.jit(network.apply)({"params": params}, x, time, {"labels": labels})
    for i in range(2):
        expected = twin(params, np.asarray(x[i], np.float64), float(time[i]), int(labels[i]), 4)
        np.testing.assert_allclose(out[i], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("positions", ["sincos", "rotary"])
def test_every_patch_sees_all_others_the_time_and_the_class_and_where_it_is(positions):
    network = DiT(
        nf=4, num_blocks=1, num_heads=2, num_channels=1, positions=positions, qk_norm=positions == "rotary",
        embedding=Embedding(num_classes=4),
    )  # fmt: skip
    x, time = jax.random.normal(jax.random.key(0), (2, 4, 4, 1)), jnp.array([10.0, 500.0])
    params = jax.tree.map(lambda leaf: 2 * leaf, random_params(network, x, {"labels": jnp.zeros(2, jnp.int32)}))
    apply = jax.jit(lambda x, time, labels: network.apply({"params": params}, x, time, {"labels": labels}))
    labels = jnp.array([1, 2])
    out = apply(x, time, labels)
    changed = apply(x.at[0, 3, 3, 0].add(1.0), time, labels)
    assert np.abs(changed[0] - out[0])[:2, :2].max() > 1e-6
    np.testing.assert_array_equal(changed[1], out[1])
    for other in (apply(x, time + 50, labels), apply(x, time, labels + 1)):
        assert np.abs(other - out).max() > 1e-6
    swapped = jnp.concatenate([x[:, 2:], x[:, :2]], axis=1)
    assert np.abs(jnp.concatenate([out[:, 2:], out[:, :2]], axis=1) - apply(swapped, time, labels)).max() > 1e-6


def test_the_output_starts_at_zero_and_what_does_not_fit_is_refused():
    network, x = DiT(nf=4, num_blocks=1, num_heads=2, num_channels=1), jnp.ones((1, 4, 4, 1))
    variables = network.init(jax.random.key(0), x, jnp.ones(1))
    assert float(jnp.abs(network.apply(variables, x, jnp.ones(1))).max()) < 1e-3
    with pytest.raises(ValueError, match="each a multiple of patch_size = 2"):
        network.apply(variables, jnp.ones((1, 5, 4, 1)), jnp.ones(1))
    config = default.get_config()
    presets.dit(config, size="S", patch_size=3)
    for settings, message in [
        ({}, "patch_size = 3 does not divide the sides"),
        ({"patch_size": 2, "num_heads": 5}, "num_heads = 5 does not divide the width"),
        ({"num_heads": 6, "positions": "learned"}, "model.positions = 'learned' is not known"),
        ({"positions": "sincos", "scale_by_sigma": True}, "the network 'dit' does not do"),
    ]:
        config.model.update(**settings)
        with pytest.raises(ValueError, match=message):
            make_network(config)
