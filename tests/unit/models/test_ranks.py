"""The networks over vectors, series, images that are not square, and volumes: one law for all ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.blocks import resample
from models.blocks.convolution import CONV_DIMENSIONS, convolve_by_planes
from models.networks.ddpm import DDPM
from models.networks.mlp import MLP
from models.networks.ncsnpp import NCSNpp
from tests.support.networks import TINIEST, TINY, abstract, image, random_params, shapes

TAPS = (1.0, 3.0, 3.0, 1.0)
SHAPES = {"series": (2, 12, 2), "images": (2, 4, 6, 2), "volumes": (2, 4, 6, 2, 2)}
TIMES = jnp.array([3.0, 700.0])
UNET = {"nf": 4, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4, 12), "num_channels": 2}
NETWORKS = {
    "ncsnpp": NCSNpp(**UNET, progressive="output_skip"),
    "ncsnpp_residual": NCSNpp(**UNET, progressive="residual", resblock_type="ddpm"),
    "ddpmpp": NCSNpp(**UNET, fir=False, progressive_input="none", embedding_type="positional", scale_by_sigma=False),
    "ddpm": DDPM(**UNET),
}
VECTORS = {"nf": 8, "num_res_blocks": 1, "num_channels": 5}


@pytest.fixture(autouse=True, scope="module")
def _quick_to_compile():
    """Every program here runs a few times only, so that compiling it is what takes time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_one_network_takes_data_of_every_rank(name, kind):
    """Kernels have a side for each axis of space; everything else has the shape that it has for images."""
    model, x = NETWORKS[name], jax.ShapeDtypeStruct(SHAPES[kind], jnp.float32)
    time = jax.ShapeDtypeStruct((2,), jnp.float32)
    y, made = jax.eval_shape(lambda x, time: model.init_with_output(jax.random.key(0), x, time), x, time)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    of_images = shapes(abstract(model, jax.ShapeDtypeStruct(SHAPES["images"], jnp.float32)))
    rank = len(x.shape) - 2
    for path, shape in shapes(made["params"]).items():
        expected = of_images[path]
        if len(expected) == 4:
            expected = (expected[0],) * rank + expected[2:]
        assert shape == expected, path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["series", "volumes"])
def test_a_new_network_of_another_rank_returns_almost_nothing_and_every_parameter_learns(kind):
    model, x = NETWORKS["ddpmpp"], image(SHAPES[kind])

    @jax.jit
    def outputs(params):
        value = lambda params: jnp.sum(model.apply({"params": params}, x, TIMES) ** 2)  # noqa: E731
        return model.apply({"params": params}, x, TIMES), jax.grad(value)(params)

    _, gradient = outputs(random_params(model, x))
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    with jax.default_prng_impl("unsafe_rbg"):
        new = jax.jit(lambda: model.init(jax.random.key(0), x, TIMES)["params"])()
    assert 0 < float(jnp.abs(outputs(new)[0]).max()) < 1e-3  # the last convolution starts with variance 1e-10


@pytest.mark.slow
def test_a_series_is_an_image_of_one_row_and_an_image_a_volume_of_one_plane():
    """Beyond the only row there are zeros, so that only the middle row of a 3x3 kernel meets anything."""
    model = NCSNpp(**{**TINIEST, "nf": 4, "attn_resolutions": (1, 8)}, num_channels=2)
    volume = image((2, 1, 1, 8, 2))
    params = random_params(model, volume)
    outputs = []
    for x in (volume, volume[:, 0], volume[:, 0, 0]):
        outputs.append(jax.jit(model.apply)({"params": params}, x, TIMES).reshape(volume.shape))
        middle = lambda leaf: leaf[leaf.shape[0] // 2] if leaf.ndim > 2 else leaf  # noqa: E731
        params = jax.tree.map(middle, params)
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], rtol=1e-4, atol=1e-5)  # sums in another order
    assert float(jnp.std(outputs[0])) > 0.01


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
def test_resampling_an_outer_product_is_the_outer_product_of_what_is_resampled(operation, rank):
    rng = np.random.default_rng(rank)
    lines = [jnp.asarray(rng.standard_normal(size), jnp.float32) for size in (4, 6, 8)[:rank]]
    whole = operation(outer(lines)[None, ..., None])[0, ..., 0]
    expected = outer([operation(line[None, :, None])[0, :, 0] for line in lines])
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5)  # float32 sums in another order


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
def test_a_shape_that_the_network_does_not_have_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        abstract(NETWORKS["ncsnpp"], jax.ShapeDtypeStruct(shape, jnp.float32))


def test_the_perceptron_returns_almost_nothing_at_first_and_every_parameter_learns():
    model, x = MLP(**VECTORS, num_classes=3), image((2, 5))
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


@pytest.mark.parametrize("kind", ["mlp", "ncsnpp"])
def test_an_augmentation_is_told_through_one_matrix_that_starts_at_zero(kind):
    told = MLP(**VECTORS, augment_dim=3) if kind == "mlp" else NCSNpp(**TINIEST, augment_dim=3)
    plain, x = told.copy(augment_dim=0), image((2, 5) if kind == "mlp" else (2, 4, 4, 3))
    params = random_params(told, x)
    assert set(shapes(params)) - set(shapes(abstract(plain, x))) == {"['augment']['kernel']"}
    with jax.default_prng_impl("unsafe_rbg"):
        new = jax.jit(lambda: told.init(jax.random.key(0), x, TIMES)["params"]["augment"]["kernel"])()
    np.testing.assert_array_equal(new, 0)
    apply = jax.jit(lambda augment: told.apply({"params": params}, x, TIMES, {"augment": augment}))
    none = jax.jit(lambda: told.apply({"params": params}, x, TIMES))()
    np.testing.assert_allclose(apply(jnp.zeros((2, 3))), none, rtol=1e-5, atol=1e-6)  # compiled apart
    assert float(jnp.abs(apply(jnp.ones((2, 3))) - none).max()) > 1e-3
    with pytest.raises(ValueError, match="augment_dim = 3: give"):
        jax.eval_shape(apply, jax.ShapeDtypeStruct((2, 4), jnp.float32))


def test_published_networks_have_no_matrix_for_augmentations():
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    assert not [path for path in shapes(abstract(NCSNpp(**TINY), x)) if "augment" in path]
