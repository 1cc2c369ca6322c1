"""Layers that preserve magnitudes, and the published sizes of the network that is made of them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.network import make_network
from configs import default, presets
from core.target import compiling_for
from models.blocks.magnitude_preserving import (
    MPFourier,
    MPLinear,
    mp_concat,
    mp_silu,
    mp_sum,
    normalize_weight,
    pixel_norm,
    unpadded,
)
from models.networks.edm2 import EDM2, num_heads

PUBLISHED = {"XS": 125}  # millions of parameters; Karras et al., CVPR 2024, table 2


def rms(x):
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes_have_the_published_parameters(size):
    config = default.get_config()
    presets.edm2(config, size=size)
    config.data.update(image_size=64, num_channels=4)
    config.model.update(num_labels=999)  # and "no class": 1,000 rows, as published without guidance
    network, cond = make_network(config), {"labels": jnp.zeros(1, jnp.int32)}
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 4)), jnp.ones(1), cond)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) / 1e6 == pytest.approx(
        PUBLISHED[size], abs=0.5
    )


@pytest.mark.parametrize(
    ("features", "heads"), [(16, 1), (64, 1), (100, 1), (200, 2), (129, 1), (256, 4), (768, 12), (960, 15)]
)  # fmt: skip
def test_heads_divide_the_width(features, heads):
    assert num_heads(features) == heads


def test_any_width_has_attention():
    network = EDM2(nf=100, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), num_channels=1)
    x = jnp.zeros((1, 8, 8, 1))
    found = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x, jnp.ones(1))[0], x)
    assert found.shape == x.shape


def test_a_layer_is_traced_for_the_platform_that_it_is_compiled_for():
    module, x = MPLinear(4, size=3, rank=3), jnp.zeros((1, 4, 4, 4, 2))
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    planes = {}
    for name in ("cpu", "gpu"):
        with compiling_for(name):
            planes[name] = "[3,3,6,4]" in str(jax.make_jaxpr(lambda p, x: module.apply(p, x))(shapes, x))
    assert planes == {"cpu": True, "gpu": False}


def test_functions_of_normal_inputs_have_magnitude_one():
    a, b = normal(500, 6), normal(500, 30, seed=1)  # five standard errors of 3,000 squares: 0.06
    assert rms(mp_silu(jnp.asarray(normal(400, 500)))) == pytest.approx(1, abs=0.01)
    assert rms(mp_sum(a, b[:, :6], 0.3)) == pytest.approx(1, abs=0.06)
    both = mp_concat(a, b, 0.3)
    assert rms(both) == pytest.approx(1, abs=0.06)
    # Shares of the total energy are (1 - t)^2 and t^2, whatever the numbers of channels.
    assert np.sum(both[:, :6] ** 2) / np.sum(both**2) == pytest.approx(0.49 / 0.58, abs=0.03)
    np.testing.assert_allclose(jnp.mean(pixel_norm(7 * b) ** 2, axis=-1), 1, rtol=1e-3)


def test_fourier_features_have_magnitude_one_and_no_gradient():
    module, x = MPFourier(256), jnp.linspace(-1.0, 1.0, 5)
    params = module.init(jax.random.key(0), x)
    assert rms(module.apply(params, x)) == pytest.approx(1, abs=0.1)  # 1,280 values of cos^2, not independent
    gradient = jax.grad(lambda p: jnp.sum(module.apply(p, x) ** 3))(params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_a_layer_keeps_the_magnitude_up_to_its_edges_whatever_its_weights(rank):
    """Each output is a unit vector times independent inputs: mean square 1, at edges because of `unpadded`."""
    x, module = normal(64, *(4,) * rank, 8, seed=rank), MPLinear(32, size=3 if rank else 1, rank=rank)
    params = module.init(jax.random.key(0), x)
    y = np.asarray(jax.jit(module.apply)(params, x))
    assert rms(y) == pytest.approx(1, abs=0.05)
    corner = y[(slice(None), *(0,) * rank)]
    assert rms(corner) == pytest.approx(1, abs=0.08)  # 64 x 32 values of a smaller part of the weights
    scaled = jax.tree.map(lambda w: 5 * w, params)
    np.testing.assert_allclose(jax.jit(module.apply)(scaled, x), y, rtol=2e-3, atol=1e-3)  # EPS is 1e-4 of the norm
    weight = params["params"]["weight"]
    np.testing.assert_allclose(jnp.mean(weight**2, axis=range(weight.ndim - 1)), 1, rtol=1e-3)
    np.testing.assert_allclose(normalize_weight(weight), weight, rtol=1e-3)


def test_edges_are_scaled_by_what_is_padding():
    scale = np.asarray(unpadded((3, 5), 3))[0, :, :, 0]
    np.testing.assert_allclose(scale[[0, 0, 1], [0, 2, 2]], [1.5, 1.5**0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(unpadded((4,), 1), np.ones((1, 4, 1)))
