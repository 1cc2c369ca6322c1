"""Signals that a network is conditioned on: shapes of data of every rank, and errors."""

import jax
import jax.numpy as jnp
import pytest

from models.blocks.conditioning import ENTRIES, Embedding
from models.networks.mlp import MLP
from models.networks.ncsnpp import NCSNpp
from tests.support.conditions import SIGNALS, B, cond_of
from tests.support.networks import RANK_SHAPES, SMALL_UNET, TIMES, VECTORS, abstract, image


@pytest.mark.parametrize("rank", RANK_SHAPES)
@pytest.mark.parametrize("resblock_type", ["biggan", "ddpm"])
def test_signals_enter_networks_for_data_of_every_rank(rank, resblock_type):
    shape = RANK_SHAPES[rank]
    embedding = Embedding(signals=tuple(SIGNALS.values()))
    model = NCSNpp(**SMALL_UNET, resblock_type=resblock_type, embedding=embedding, scale_by_sigma=False, remat=True)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    apply = lambda x: model.init_with_output(jax.random.key(0), x, TIMES, cond_of(ENTRIES, shape))  # noqa: E731
    assert jax.eval_shape(apply, x)[0].shape == shape


def test_a_network_without_attention_refuses_tokens():
    model = MLP(**VECTORS, embedding=Embedding(signals=(SIGNALS["cross"],)))
    with pytest.raises(ValueError, match="entry of text = 'cross' is not one of"):
        abstract(model, image((B, 5)), cond_of(("cross",), (B, 5)))


def test_a_signal_that_is_missing_from_the_condition_is_named():
    model = MLP(**VECTORS, embedding=Embedding(signals=(SIGNALS["add"],)))
    with pytest.raises(ValueError, match="conditioned on 'attributes', which cond = None does not have"):
        abstract(model, image((B, 5)))
