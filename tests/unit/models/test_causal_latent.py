"""Causal latents: closed forms of linear Gaussian models, and the graph."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.blocks.causal_latent import CausalLatent, Graph, Intervention

GRAPHS = {
    # parents of each variable, and the weights of these in its mechanism
    "chain": (Graph(("a", "b", "c", "d"), ((), (0,), (1,), (2,))), {1: [0.8], 2: [-1.5], 3: [0.6]}),
    "collider": (Graph(("effect", "a", "b"), ((1, 2), (), ())), {0: [0.7, -2.0]}),
    "diamond": (Graph(("a", "b", "c", "d"), ((), (0,), (0,), (2, 1))), {1: [2.0], 2: [-1.0], 3: [0.5, 3.0]}),
}
OFFSET = 0.3  # of every mechanism


def linear(name):
    """The latent, its parameters, and A of z = A z + offset + u."""
    graph, weights = GRAPHS[name]
    n = len(graph.names)
    A, offset, params = np.zeros((n, n)), np.zeros(n), {"log_noise_std": jnp.zeros(n)}
    for i, row in weights.items():
        A[i, list(graph.parents[i])], offset[i] = row, OFFSET
        layer = {"kernel": jnp.array(row, jnp.float32)[:, None], "bias": jnp.full(1, OFFSET)}
        params[f"mechanism_{graph.names[i]}"] = {"Dense_0": layer}
    return CausalLatent(graph, 1, "linear"), params, A, offset


def propagate(latent, params, u, do=None):
    return np.asarray(latent.apply({"params": params}, jnp.asarray(u, jnp.float32)[..., None], do))[..., 0]


def done(shape, fixed=(), shift=()):
    parts = np.zeros((3, *shape), np.float32)
    for i, value in fixed:
        parts[0, :, i], parts[1, :, i] = 1, value
    for i, value in shift:
        parts[2, :, i] = value
    return Intervention(jnp.asarray(parts[0] > 0), jnp.asarray(parts[1]), jnp.asarray(parts[2]))


@pytest.mark.parametrize("name", GRAPHS)
def test_counterfactuals_of_a_linear_model_have_their_closed_form(name):
    """Abduction u = (I - A) z - b; action A_i = 0, b_i + u_i = value; prediction z' = (I - A')^-1 (b' + u')."""
    latent, params, A, offset = linear(name)
    n = len(A)
    z = np.random.default_rng(0).normal(size=(50, n))
    u = z @ (np.eye(n) - A).T - offset
    np.testing.assert_allclose(propagate(latent, params, u), z, atol=1e-5)  # float32 of numbers up to 10
    abducted = latent.apply({"params": params}, jnp.asarray(z, jnp.float32)[..., None], method=CausalLatent.noise)
    np.testing.assert_allclose(abducted[..., 0], u, atol=1e-5)
    for i in range(n):
        cut, changed, shifted = A.copy(), u + offset, u + offset
        cut[i], changed[:, i] = 0, 1.7
        shifted[:, i] += 0.9
        exact = np.linalg.solve(np.eye(n) - cut, changed.T).T
        found = propagate(latent, params, u, done(z.shape, fixed=[(i, 1.7)]))
        np.testing.assert_allclose(found, exact, atol=1e-5)
        others = [j for j in range(n) if j != i and j not in latent.graph.descendants(i)]
        np.testing.assert_allclose(found[:, others], z[:, others], atol=1e-5)
        moved = propagate(latent, params, u, done(z.shape, shift=[(i, 0.9)]))
        np.testing.assert_allclose(moved, np.linalg.solve(np.eye(n) - A, shifted.T).T, atol=1e-5)


def test_several_variables_are_set_at_once_in_the_order_of_the_graph():
    """In a chain the last one that is set decides what is below it."""
    latent, params, *_ = linear("chain")
    u = np.random.default_rng(1).normal(size=(5, 4))
    both = propagate(latent, params, u, done(u.shape, fixed=[(0, 2.0), (2, -1.0)]))
    np.testing.assert_allclose(both[:, 0], 2.0)
    np.testing.assert_allclose(both[:, 1], 0.8 * 2.0 + OFFSET + u[:, 1], atol=1e-5)
    np.testing.assert_allclose(both[:, 2], -1.0)
    np.testing.assert_allclose(both[:, 3], 0.6 * -1.0 + OFFSET + u[:, 3], atol=1e-5)


def test_parents_are_told_apart_and_grandparents_act_through_parents_alone():
    latent = CausalLatent(GRAPHS["diamond"][0], 2, "neural", 8)
    u = jax.random.normal(jax.random.key(0), (3, 4, 2))
    variables = latent.init(jax.random.key(1), u)
    swapped = latent.apply(variables, u.at[:, [1, 2]].set(u[:, [2, 1]]))
    assert float(jnp.abs(swapped[:, 3] - latent.apply(variables, u)[:, 3]).min()) > 1e-4

    def last(root):  # of the noise of the root, where both parents of the last variable are set
        shape = (3, 4)
        do = done(shape, fixed=[(1, 0.5), (2, 0.1)])
        return latent.apply(variables, u.at[:, 0].set(root), do)[:, 3]

    np.testing.assert_array_equal(last(0.0), last(5.0))


def test_the_graph_names_its_cycle_and_knows_descendants():
    graph = GRAPHS["diamond"][0]
    assert [graph.descendants(i) for i in range(4)] == [(1, 2, 3), (3,), (3,), ()]
    for i, parents in enumerate(graph.parents):
        assert all(graph.order.index(j) < graph.order.index(i) for j in parents)
    with pytest.raises(ValueError, match=r"the cycle (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c); remove"):
        Graph(("root", "a", "b", "c"), ((), (0, 3), (1,), (2,)))
    with pytest.raises(ValueError, match="the cycle a -> a"):
        Graph(("a",), ((0,),))
