"""Networks and layers on vectors, series, non-square images and volumes: the same rules for every rank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.blocks import resample
from models.blocks.conditioning import Embedding
from models.blocks.convolution import CONV_DIMENSIONS, convolve_by_planes
from models.networks.mlp import MLP
from models.networks.ncsnpp import NCSNpp
from tests.support.networks import RANK_SHAPES, RANKED, TIMES, TINY, VECTORS, abstract, image, random_params, shapes

TAPS = (1.0, 3.0, 3.0, 1.0)


@pytest.mark.parametrize("kind", RANK_SHAPES)
@pytest.mark.parametrize("name", RANKED)
def test_one_network_takes_data_of_every_rank(name, kind):
    """Kernels have one side per spatial axis; all other shapes are the same as for images."""
    model, x = RANKED[name], jax.ShapeDtypeStruct(RANK_SHAPES[kind], jnp.float32)
    time = jax.ShapeDtypeStruct((2,), jnp.float32)
    y, made = jax.eval_shape(lambda x, time: model.init_with_output(jax.random.key(0), x, time), x, time)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    image_shapes = shapes(abstract(model, jax.ShapeDtypeStruct(RANK_SHAPES["images"], jnp.float32)))
    rank = len(x.shape) - 2
    for path, shape in shapes(made["params"]).items():
        expected = image_shapes[path]
        if len(expected) == 4:
            expected = (expected[0],) * rank + expected[2:]
        assert shape == expected, path


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "operation",
    [
        resample.upsample,
        resample.downsample,
        resample.nearest_upsample,
        resample.mean_downsample,
        lambda x: resample.upsample_conv(x, kernel_of(x), TAPS),
        lambda x: resample.conv_downsample(x, kernel_of(x), TAPS),
    ],
    ids=["upsample", "downsample", "nearest", "mean", "upsample_conv", "conv_downsample"],
)
def test_resampling_an_outer_product_gives_the_outer_product_of_the_resampled_lines(operation, rank):
    rng = np.random.default_rng(rank)
    lines = [jnp.asarray(rng.standard_normal(size), jnp.float32) for size in (4, 6, 8)[:rank]]
    resampled = operation(outer(lines)[None, ..., None])[0, ..., 0]
    expected = outer([operation(line[None, :, None])[0, :, 0] for line in lines])
    np.testing.assert_allclose(resampled, expected, rtol=1e-4, atol=1e-5)  # float32 sums in another order


def outer(lines):
    return jnp.einsum(",".join("abc"[: len(lines)]), *lines)


def kernel_of(x):
    rank = x.ndim - 2
    return outer([jnp.array([0.5, 2.0, -1.0])] * rank)[..., None, None]


def test_a_convolution_of_volumes_by_planes_is_that_of_the_library():
    x, kernel = image((2, 4, 5, 6, 3)), image((3, 3, 3, 3, 2), seed=1)
    dimensions = CONV_DIMENSIONS[3]
    expected = jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=dimensions)
    np.testing.assert_allclose(convolve_by_planes(x, kernel), expected, rtol=1e-4, atol=1e-5)  # order of 81 sums


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 7, 2), r"expected \[B, L, 2\] with L divisible by 2"),
        ((2, 4, 6, 7, 2), r"expected \[B, D, H, W, 2\] with D and H and W divisible by 2"),
        ((2, 2), r"expected \[B, L, 2\] or \[B, H, W, 2\] or \[B, D, H, W, 2\]"),
    ],
)
def test_an_invalid_shape_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        abstract(RANKED["ncsnpp"], jax.ShapeDtypeStruct(shape, jnp.float32))


def test_the_perceptron_returns_almost_nothing_at_first_and_every_parameter_learns():
    model, x = MLP(**VECTORS, embedding=Embedding(num_classes=3)), image((2, 5))
    cond = {"labels": jnp.array([0, 2])}

    @jax.jit
    def outputs(params, cond):
        value = lambda params: jnp.sum(model.apply({"params": params}, x, TIMES, cond) ** 2)  # noqa: E731
        return model.apply({"params": params}, x, TIMES, cond), jax.grad(value)(params)

    params = random_params(model, x, cond)
    before, gradient = outputs(params, cond)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    after, _ = outputs(params, {"labels": jnp.array([1, 2])})
    assert float(jnp.abs(after[0] - before[0]).max()) > 1e-3
    np.testing.assert_array_equal(after[1], before[1])
    with jax.default_prng_impl("unsafe_rbg"):
        new = jax.jit(lambda: model.init(jax.random.key(0), x, TIMES, cond)["params"])()
    assert 0 < float(jnp.abs(outputs(new, cond)[0]).max()) < 1e-3
    with pytest.raises(ValueError, match=r"expected vectors \[B, 5\]"):
        abstract(model, jax.ShapeDtypeStruct((2, 6), jnp.float32), cond)


def test_published_networks_have_no_matrix_for_augmentations():
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    assert not [path for path in shapes(abstract(NCSNpp(**TINY), x)) if "augment" in path]
