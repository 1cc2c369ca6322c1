"""Signals that a network is conditioned on: the four ways in, without effect at first and where they are not given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.blocks.conditioning import Embedding
from tests.support.conditions import KINDS, SIGNALS, cond_of
from tests.support.networks import TIMES, abstract, image, random_params, shapes


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
    known = shapes(abstract(conditioned.plain, conditioned.x))

    def start():
        """The initial values of the parameters of signals; others start near zero, too."""
        params = conditioned.model.init(jax.random.key(0), conditioned.x, TIMES, cond)["params"]
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: None if jax.tree_util.keystr(path) in known else leaf, params
        )

    with jax.default_prng_impl("unsafe_rbg"):  # quick to compile
        new = jax.jit(start)()
    params = jax.tree.map(
        lambda new, old: old if new is None else new, new, conditioned.params, is_leaf=lambda leaf: leaf is None
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
