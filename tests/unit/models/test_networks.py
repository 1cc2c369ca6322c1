"""Networks: shapes of every kind, behavior in training."""

import jax
import jax.numpy as jnp
import pytest

from models.blocks.conditioning import Embedding
from models.networks.ddpm import DDPM
from models.networks.ncsn import NCSN
from models.networks.ncsnpp import NCSNpp
from models.networks.ncsnv2 import NCSNv2
from tests.support.networks import TINY, abstract, shapes


@pytest.mark.parametrize("progressive", ["none", "output_skip", "residual"])
@pytest.mark.parametrize("progressive_input", ["none", "input_skip", "residual"])
@pytest.mark.parametrize("resblock_type", ["biggan", "ddpm"])
@pytest.mark.parametrize("channels", [1, 5])
def test_every_pyramid_takes_images_of_any_channels_that_are_not_square(
    progressive, progressive_input, resblock_type, channels
):
    model = NCSNpp(
        **TINY, resblock_type=resblock_type, progressive=progressive, progressive_input=progressive_input,
        progressive_combine="cat" if channels == 5 else "sum", num_channels=channels,
    )  # fmt: skip
    x, time = jax.ShapeDtypeStruct((2, 8, 12, channels), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32)
    y, _ = jax.eval_shape(lambda x, time: model.init_with_output(jax.random.key(0), x, time), x, time)
    assert y.shape == x.shape


SMALL = {
    "ncsnpp": NCSNpp(**TINY, num_channels=5),
    "ddpm": DDPM(nf=24, ch_mult=(1, 2), num_res_blocks=1, num_channels=5),
    "ncsn": NCSN(nf=4, num_classes=10, num_channels=5),
    "ncsnv2_64": NCSNv2(nf=4, size=64, num_channels=5),
    "ncsnv2_128": NCSNv2(nf=4, size=128, num_channels=5),
    "ncsnv2_256": NCSNv2(nf=4, size=256, num_channels=5),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_network_returns_what_has_the_shape_and_type_of_its_input(name, dtype):
    model = SMALL[name].copy(dtype=dtype)
    x, time = jax.ShapeDtypeStruct((2, 16, 24, 5), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32)
    y, made = jax.eval_shape(lambda x, time: model.init_with_output(jax.random.key(0), x, time), x, time)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}
    with pytest.raises(ValueError, match=r"expected \[B, H, W, 5\] with H and W divisible by"):
        abstract(model, jax.ShapeDtypeStruct((2, 16, 23, 5), jnp.float32))


def test_the_largest_refinenet_has_one_stage_and_one_refinement_more():
    """Two residual blocks (12 + 10 tensors) and a refine block (16) more than the one for 128 pixels."""
    x = jax.ShapeDtypeStruct((1, 32, 32, 5), jnp.float32)
    middle, largest = (len(jax.tree.leaves(abstract(SMALL[name], x))) for name in ("ncsnv2_128", "ncsnv2_256"))
    assert largest == middle + 12 + 10 + 16


def test_an_unconditional_network_has_no_dense_layers():
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    names = shapes(abstract(NCSNpp(**TINY | {"embedding": Embedding(conditional=False)}), x))
    assert not [name for name in names if "Dense" in name]


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (1, 6, 7, 3), r"\(1, 6, 7, 3\): expected \[B, H, W, 3\] with H and W divisible by 2"),
        ({}, (1, 8, 8, 1), r"\(1, 8, 8, 1\): expected \[B, H, W, 3\]"),
        ({"progressive": "outputskip"}, (1, 8, 8, 3), "progressive = 'outputskip' is not one of"),
        ({"conv_size": 5}, (1, 8, 8, 3), "conv_size = 5 is not one of"),
        ({"scale_by_sigma": True}, (1, 8, 8, 3), "scale_by_sigma needs `sigmas`"),
    ],
)
def test_what_the_network_does_not_have_is_refused_in_a_sentence(options, shape, message):
    with pytest.raises(ValueError, match=message):
        abstract(NCSNpp(**{**TINY, **options}), jax.ShapeDtypeStruct(shape, jnp.float32))
