"""Layers: resampling, embeddings, normalization, attention and residual blocks, against theorems and golden numbers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.target import compiling_for
from models.blocks import refinenet, resample
from models.blocks.activations import ACTIVATIONS
from models.blocks.attention import AttnBlockpp
from models.blocks.convolution import NIN
from models.blocks.dropout import Dropout
from models.blocks.embeddings import GaussianFourierProjection, sinusoidal
from models.blocks.normalization import GroupNorm, num_groups
from models.blocks.resample import Downsample, Upsample
from models.blocks.residual import Combine, ResnetBlockBigGANpp, ResnetBlockDDPM

FILTERS = ["k1331", "k1234", "k11"]
DDPM = {"limit": 32}

RESAMPLERS = {
    "module_up_fir": Upsample(fir=True),
    "module_down_fir": Downsample(fir=True),
    "module_up_fir_conv": Upsample(6, with_conv=True, fir=True),
    "module_down_fir_conv": Downsample(6, with_conv=True, fir=True),
    "module_up_conv": Upsample(6, with_conv=True),
    "module_down_conv": Downsample(6, with_conv=True),
    "module_up_plain": Upsample(),
    "module_down_plain": Downsample(),
    "module_ddpm_up": Upsample(with_conv=True),
    "module_ddpm_down": Downsample(with_conv=True),
}


def _biggan(**options):
    return ResnetBlockBigGANpp(ACTIVATIONS["swish"], **options)


def _ddpm(**options):
    return ResnetBlockDDPM(ACTIVATIONS["swish"], **options)


BLOCKS = {  # name: (module, names of its inputs)
    "attn_rescale0": (AttnBlockpp(), ["x"]),
    "attn_rescale1": (AttnBlockpp(skip_rescale=True), ["x"]),
    "biggan_same": (_biggan(), ["x", "temb"]),
    "biggan_outch": (_biggan(features=8), ["x", "temb"]),
    "biggan_up_fir": (_biggan(up=True, fir=True), ["x", "temb"]),
    "biggan_down_fir": (_biggan(down=True, fir=True), ["x", "temb"]),
    "biggan_up_naive": (_biggan(up=True), ["x", "temb"]),
    "biggan_down_naive": (_biggan(down=True), ["x", "temb"]),
    "biggan_up_fir_outch": (_biggan(features=8, up=True, fir=True), ["x", "temb"]),
    "biggan_norescale": (_biggan(features=8, skip_rescale=False), ["x", "temb"]),
    "biggan_notemb": (_biggan(features=8), ["x"]),
    "ddpmpp_same": (_ddpm(), ["x", "temb"]),
    "ddpmpp_nin": (_ddpm(features=8), ["x", "temb"]),
    "ddpmpp_conv_shortcut": (_ddpm(features=8, conv_shortcut=True), ["x", "temb"]),
    "ddpmpp_rescale": (_ddpm(features=8, skip_rescale=True), ["x", "temb"]),
    "combine_cat": (Combine("cat"), ["x[..., :3]", "x"]),
    "combine_sum": (Combine("sum"), ["x[..., :3]", "x"]),
    "nin": (NIN(8), ["x"]),
    "groupnorm": (GroupNorm(), ["x"]),
    "ddpm_attn": (AttnBlockpp(**DDPM), ["x32"]),
    "ddpm_resblock": (_ddpm(**DDPM), ["x32", "temb"]),
}

ELU = ACTIVATIONS["elu"]
CLASSES = {"num_classes": 5}

REFINENET = {  # name: (module, names of its inputs)
    "instance_norm": (refinenet.InstanceNorm2d(), ["x"]),
    "variance_norm": (refinenet.VarianceNorm2d(), ["x"]),
    "instance_norm_plus": (refinenet.InstanceNorm2dPlus(), ["x"]),
    "cond_instance_norm_plus": (refinenet.ConditionalInstanceNorm2dPlus(5), ["x", "labels"]),
    "crp": (refinenet.CRPBlock(ELU), ["x"]),
    "cond_crp": (refinenet.CondCRPBlock(ELU, **CLASSES), ["x", "labels"]),
    "rcu": (refinenet.RCUBlock(ELU), ["x"]),
    "msf": (refinenet.MSFBlock(6), ["pair"]),
    "cond_msf": (refinenet.CondMSFBlock(6, **CLASSES), ["pair", "labels"]),
    "conv_mean_pool": (refinenet.ConvMeanPool(7), ["x"]),
    "mean_pool_conv": (refinenet.MeanPoolConv(7), ["x"]),
    "resblock_down": (refinenet.ResidualBlock(ELU, 12, down=True), ["x"]),
    "resblock_down_dil2": (refinenet.ResidualBlock(ELU, 12, down=True, dilation=2), ["x"]),
    "resblock_dil4": (refinenet.ResidualBlock(ELU, 6, dilation=4), ["x"]),
    "cond_resblock_down": (refinenet.ConditionalResidualBlock(ELU, 12, down=True, **CLASSES), ["x", "labels"]),
}


def shapes(tree):
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def check_module(g, name, module, inputs):
    """The parameters that the module makes have the published names and shapes; with the stored ones it gives y."""
    params = g.params(f"{name}/params/")
    made = jax.eval_shape(module.init, jax.random.key(0), *inputs).get("params", {})
    assert shapes(made) == shapes(params)
    g.check(f"{name}/y", jax.jit(module.apply)({"params": params}, *inputs))


@pytest.mark.parametrize("taps", FILTERS)
def test_fir_resampling_equals_the_published_numbers(taps, golden):
    g = golden("layers_resample")
    x, weight, k = jnp.asarray(g["x"]), jnp.asarray(g[f"{taps}_conv_w"]), g[f"{taps}_taps"].tolist()
    g.check(f"{taps}_upsample_2d", resample.upsample(x, k))
    g.check(f"{taps}_downsample_2d", resample.downsample(x, k))
    g.check(f"{taps}_upsample_conv_2d", resample.upsample_conv(x, weight, k))
    g.check(f"{taps}_conv_downsample_2d", resample.conv_downsample(x, weight, k))


def test_plain_resampling_equals_the_published_numbers(golden):
    g = golden("layers_resample")
    g.check("naive_upsample_2d", resample.nearest_upsample(jnp.asarray(g["x"])))
    g.check("naive_downsample_2d", resample.mean_downsample(jnp.asarray(g["x"])))


@pytest.mark.parametrize("name", RESAMPLERS)
def test_resampling_modules_equal_the_published_ones(name, golden):
    g = golden("layers_resample")
    check_module(g, name, RESAMPLERS[name], [jnp.asarray(g["x"])])


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_equal_the_published_ones(name, golden):
    g = golden("layers_blocks")
    module, inputs = BLOCKS[name]
    arrays = [jnp.asarray(g["x"][..., :3] if key == "x[..., :3]" else g[key]) for key in inputs]
    check_module(g, name, module, arrays)


@pytest.mark.parametrize("name", REFINENET)
def test_refinenet_layers_equal_the_published_ones(name, golden):
    g = golden("layers_refinenet")
    module, inputs = REFINENET[name]
    pair = [jnp.asarray(g["x"]), jnp.asarray(g["x_low"])]
    check_module(g, name, module, [pair if key == "pair" else jnp.asarray(g[key]) for key in inputs])


def test_embeddings_equal_the_published_numbers(golden):
    g = golden("layers_embeddings")
    for dim in (8, 17, 128):
        g.check(f"sinusoidal_dim{dim}", sinusoidal(jnp.asarray(g["timesteps"]), dim))
    for scale in (1, 16):
        module = GaussianFourierProjection(12, scale)
        params = {"W": g[f"fourier_scale{scale}_W"]}
        y = module.apply({"params": params}, jnp.log(jnp.asarray(g[f"fourier_scale{scale}_sigma"])))
        g.check(f"fourier_scale{scale}_y", y)


def test_fourier_frequencies_have_the_scale_and_are_never_trained():
    module, x = GaussianFourierProjection(4000, 16.0), jnp.array([0.3, -1.0])
    params = module.init(jax.random.key(0), x)
    # The standard deviation of n samples has a relative error of 1 / sqrt(2 n).
    np.testing.assert_allclose(params["params"]["W"].std(), 16.0, rtol=4 / np.sqrt(8000))
    slope = jax.grad(lambda p: module.apply(p, x).sum())(params)
    np.testing.assert_array_equal(slope["params"]["W"], 0.0)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 1), (1, 4, 6, 4, 1), (1, 5, 10, 10, 5, 1)], ids=len)
def test_resampling_keeps_constants_away_from_the_border(taps):
    """Each parity of the taps sums to one half, so zeros between the samples leave no pattern."""
    x = jnp.ones((1, 10, 12, 1))
    np.testing.assert_allclose(resample.upsample(x, taps)[:, 6:-6, 6:-6], 1.0, rtol=1e-6)  # float32 sums of the taps
    np.testing.assert_allclose(resample.downsample(x, taps)[:, 2:-2, 2:-2], 1.0, rtol=1e-6)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 2, 3, 4), (1, 1), (1, 2, 0, 3, 1, 4)], ids=str)
def test_downsampling_is_the_transpose_of_upsampling(taps):
    x, y = np.random.default_rng(0).standard_normal((2, 1, 12, 16, 2)).astype(np.float32)
    y = y[:, :6, :8]
    up = np.vdot(resample.upsample(jnp.asarray(y), taps), x)
    down = np.vdot(resample.downsample(jnp.asarray(x), taps[::-1]), y)
    np.testing.assert_allclose(up, 4 * down, rtol=1e-4)  # sums of 192 products in float32


def test_a_filter_of_one_tap_is_refused():
    with pytest.raises(ValueError, match="at least two taps"):
        resample.upsample(jnp.ones((1, 4, 4, 1)), (1.0,))


@pytest.mark.parametrize(
    ("channels", "limit", "groups"), [(128, 32, 32), (144, 32, 24), (3, 0, 1), (1, 0, 1), (10, 2, 2), (94, 23, 2)]
)
def test_the_number_of_groups_divides_the_channels(channels, limit, groups):
    assert num_groups(channels, limit) == groups


@pytest.mark.parametrize("channels", [1, 5, 144])
def test_group_norm_gives_each_group_zero_mean_and_unit_variance(channels):
    x = 50 + np.random.default_rng(0).standard_normal((2, 4, 6, channels)).astype(np.float32)
    module = GroupNorm()
    y = module.apply({"params": {"scale": jnp.ones(channels), "bias": jnp.zeros(channels)}}, jnp.asarray(x))
    groups = num_groups(channels, min(channels // 4, 32))
    y = np.asarray(y).reshape(2, 24, groups, channels // groups)
    np.testing.assert_allclose(y.mean((1, 3)), 0.0, atol=2e-5)  # 50 in float32 has steps of 4e-6
    np.testing.assert_allclose(y.std((1, 3)), 1.0, rtol=1e-4)


def test_a_block_starts_as_its_shortcut():
    """The last convolution starts at (nearly) zero, so a block of unchanged width is x / sqrt 2."""
    x, temb = jnp.ones((1, 4, 4, 8)), jnp.ones((1, 6))
    block = ResnetBlockBigGANpp(ACTIVATIONS["swish"])
    y, _ = jax.jit(block.init_with_output)(jax.random.key(0), x, temb)
    np.testing.assert_allclose(y, x / np.sqrt(2), atol=1e-3)  # sqrt(1e-10) times a few


def test_refinenet_layers_start_as_published():
    """Convolutions uniform in +-1 / sqrt(fan_in), bias included; scales N(1, 0.02^2); biases of norms zero."""
    x, labels = jnp.ones((1, 2, 2, 100)), jnp.array([0])
    norm = refinenet.ConditionalInstanceNorm2dPlus(3)
    table = norm.init(jax.random.key(0), x, labels)["params"]["Embed_0"]["embedding"]
    np.testing.assert_array_equal(table[:, 200:], 0.0)
    np.testing.assert_allclose((table[:, :200].mean(), table[:, :200].std()), (1, 0.02), atol=4e-3)  # 600 values
    made = refinenet.MeanPoolConv(40, 1).init(jax.random.key(0), x)["params"]["Conv_0"]
    for leaf in (made["kernel"], made["bias"]):
        assert 0.08 < float(jnp.abs(leaf).max()) <= 0.1  # 1 / sqrt(100)


@pytest.mark.parametrize("name", ["attn_rescale1", "biggan_up_fir", "ddpmpp_nin"])
def test_blocks_compute_in_bfloat16_when_asked(name, golden):
    g = golden("layers_blocks")
    module, inputs = BLOCKS[name]
    arrays = [jnp.asarray(g[key], jnp.bfloat16) for key in inputs]
    y = jax.jit(module.copy(dtype=jnp.bfloat16).apply)({"params": g.params(f"{name}/params/")}, *arrays)
    assert y.dtype == jnp.bfloat16
    error = np.abs(np.asarray(y, np.float32) - g[f"{name}/y"]).max() / np.abs(g[f"{name}/y"]).max()
    assert error < 0.03  # bfloat16 has 8 bits: 0.4 % per operation


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_dropout_has_the_masks_of_flax_wherever_its_random_bits_are_computed(platform):
    class Twice(nn.Module):
        dropout: type[nn.Module]

        @nn.compact
        def __call__(self, x, *train, **deterministic):
            shared = self.dropout(0.3)
            return self.dropout(0.6)(
                shared(shared(x, *train, **deterministic), *train, **deterministic), *train, **deterministic
            )

    x, rngs = jnp.linspace(1, 2, 64), {"dropout": jax.random.key(3)}
    with compiling_for(platform):
        given, gradient = jax.vjp(lambda x: Twice(Dropout).apply({}, x, True, rngs=rngs), x)
        assert jnp.all(Twice(Dropout).apply({}, x, False) == x) and jnp.all(Dropout(0.0).apply({}, x, True) == x)
    expected = Twice(nn.Dropout).apply({}, x, deterministic=False, rngs=rngs)
    assert 0 < int(jnp.sum(expected == 0)) < 64
    np.testing.assert_allclose(given, expected, rtol=1e-6)  # 1 / keep may be a factor, or the quotient of two
    np.testing.assert_allclose(gradient(jnp.ones(64))[0] * x, expected, rtol=1e-6)  # a linear function of x
