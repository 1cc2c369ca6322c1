"""Signals that a network is conditioned on: the four ways in, none of which does anything at first or if not given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.blocks.conditioning import ENTRIES, Embedding, Given, Signal
from models.networks.mlp import MLP
from models.networks.ncsnpp import NCSNpp
from tests.support.networks import (
    RANK_SHAPES,
    SMALL_UNET,
    TIMES,
    TINIEST,
    VECTORS,
    abstract,
    image,
    random_params,
    shapes,
)

B = 2
SIGNALS = {
    "add": Signal("attributes", "add"),
    "norm": Signal("digit", "norm", num_classes=10),
    "concat": Signal("mask", "concat"),
    "cross": Signal("text", "cross", num_classes=7),
}
KINDS = {
    "mlp": (MLP(**VECTORS), (B, 5), ("add", "norm", "concat")),
    "ncsnpp": (NCSNpp(**TINIEST), (B, 4, 4, 3), ENTRIES),
}


def values_of(entry, shape, seed=0):
    """Values of a signal that enters in this way, for data of a shape [B, ..., C]."""
    rng = np.random.default_rng(seed)
    sides = tuple(max(1, side // 2) for side in shape[1:-1])
    return {
        "add": rng.standard_normal((B, 4)).astype(np.float32),
        "norm": rng.integers(0, 10, B).astype(np.int32),
        "concat": rng.standard_normal((B, *sides, 2)).astype(np.float32),  # half the size of the data
        "cross": rng.integers(0, 7, (B, 3)).astype(np.int32),
    }[entry]


def cond_of(entries, shape, seed=0, without=()):
    """A condition with all signals but those that enter in the ways `without`."""
    return {
        SIGNALS[entry].name: Given(values_of(entry, shape, seed), np.full(B, entry not in without)) for entry in entries
    }


class Conditioned:
    """A network with every signal that it can have, Gaussian parameters, and its compiled outputs and gradients."""

    def __init__(self, kind):
        self.plain, self.shape, self.entries = KINDS[kind]
        signals = tuple(SIGNALS[entry] for entry in self.entries)
        self.model, self.x = self.plain.copy(embedding=Embedding(signals=signals)), image(self.shape)
        self.params = random_params(self.model, self.x, cond_of(self.entries, self.shape))

        def output(params, cond):
            return self.model.apply({"params": params}, self.x, TIMES, cond)

        def both(params, cond):
            gradient = jax.grad(lambda params: jnp.sum(output(params, cond) ** 2))(params)
            return output(params, cond), gradient

        self.both = jax.jit(both)

    def output(self, params=None, **options):
        return self.both(self.params if params is None else params, cond_of(self.entries, self.shape, **options))[0]


@pytest.fixture(scope="module", params=["mlp", "ncsnpp"])
def conditioned(request):
    return Conditioned(request.param)


def test_every_signal_that_is_given_changes_the_output_and_none_that_is_not(conditioned):
    everything, other = conditioned.output(), conditioned.output(seed=1)
    assert float(jnp.abs(everything - other).max()) > 1e-3
    for entry in conditioned.entries:
        assert float(jnp.abs(conditioned.output(without=(entry,)) - everything).max()) > 1e-3, entry
    nothing = conditioned.output(without=conditioned.entries)
    np.testing.assert_array_equal(nothing, conditioned.output(seed=1, without=conditioned.entries))


def test_without_its_signals_a_network_is_the_one_that_has_none(conditioned):
    known = shapes(abstract(conditioned.plain, conditioned.x))
    kept = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if jax.tree_util.keystr(path) in known else None, conditioned.params
    )
    assert len(jax.tree.leaves(kept)) == len(known)  # every parameter has its name and shape, whatever else there is
    plain = jax.jit(lambda: conditioned.plain.apply({"params": kept}, conditioned.x, TIMES))()
    found = conditioned.output(without=conditioned.entries)
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)  # compiled separately


def test_at_initialization_no_signal_has_an_effect(conditioned):
    cond = cond_of(conditioned.entries, conditioned.shape)
    with jax.default_prng_impl("unsafe_rbg"):  # quick to compile
        new = jax.jit(lambda: conditioned.model.init(jax.random.key(0), conditioned.x, TIMES, cond)["params"])()
    known = shapes(abstract(conditioned.plain, conditioned.x))
    params = jax.tree_util.tree_map_with_path(  # others than those of signals start near zero, too
        lambda path, start, leaf: leaf if jax.tree_util.keystr(path) in known else start, new, conditioned.params
    )
    np.testing.assert_array_equal(conditioned.output(params), conditioned.output(params, without=conditioned.entries))


def test_gradients_reach_every_parameter_of_a_signal_that_is_given_and_of_no_other(conditioned):
    known = shapes(abstract(conditioned.plain, conditioned.x))
    for without in ((), conditioned.entries):
        _, gradient = conditioned.both(
            conditioned.params, cond_of(conditioned.entries, conditioned.shape, without=without)
        )
        own = {
            jax.tree_util.keystr(path): float(jnp.abs(leaf).max())
            for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
            if jax.tree_util.keystr(path) not in known
        }
        assert len(own) >= 2 * len(conditioned.entries) - 2
        for path, size in own.items():
            assert (size == 0) == bool(without), path


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
