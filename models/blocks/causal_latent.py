"""Latents that follow a causal graph: each variable is a mechanism of its parents plus noise of its own."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS

MECHANISMS = ("neural", "linear")


@dataclasses.dataclass(frozen=True)
class Graph:
    """A directed acyclic graph: the names of its variables, and the numbers of the parents of each.

    Errors: ValueError for a cycle, which it names.
    """

    names: tuple[str, ...]
    parents: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        _ = self.order

    @property
    def order(self) -> tuple[int, ...]:
        """The variables such that parents precede their children."""
        found: list[int] = []
        while len(found) < len(self.names):
            free = [i for i, of in enumerate(self.parents) if i not in found and set(of) <= set(found)]
            if not free:
                raise ValueError(
                    f"the graph has the cycle {' -> '.join(self._cycle(set(found)))}; remove an edge of it."
                )
            found.append(free[0])
        return tuple(found)

    def descendants(self, index: int) -> tuple[int, ...]:
        """All variables that variable `index` affects, without itself."""
        found = {index}
        for i in self.order:
            if found & set(self.parents[i]):
                found.add(i)
        return tuple(sorted(found - {index}))

    def _cycle(self, done: set[int]) -> list[str]:
        """The names along a cycle among the variables that are not `done`, in the direction of its edges."""
        path = [next(i for i in range(len(self.names)) if i not in done)]
        while path.count(path[-1]) < 2:
            path.append(next(j for j in self.parents[path[-1]] if j not in done))
        return [self.names[i] for i in reversed(path[path.index(path[-1]) :])]


class Intervention(NamedTuple):
    """What is done to each variable [B, n]: z_i = `values` where it is `fixed`; otherwise `shift` is added to it."""

    fixed: Array
    values: Array
    shift: Array


class CausalLatent(nn.Module):
    """z_i = f_i(z of the parents of i, concatenated) + u_i in the order of the graph; a root is its noise, z_i = u_i.

    dim: numbers per variable. mechanism: f_i is "linear", W z + b, or "neural", a perceptron with two hidden layers of
    `width`. Source: Pearl, "Causality", 2009, section 1.4.
    """

    graph: Graph
    dim: int
    mechanism: str = "neural"
    width: int = 64

    def setup(self) -> None:
        interface.check_choice("mechanism", self.mechanism, MECHANISMS)
        hidden = (self.width, self.width) if self.mechanism == "neural" else ()
        self.mechanisms = [
            _Perceptron((*hidden, self.dim), name=f"mechanism_{name}") if of else None
            for name, of in zip(self.graph.names, self.graph.parents, strict=True)
        ]
        self.log_noise_std = self.param("log_noise_std", nn.initializers.zeros, (len(self.graph.names),))

    def __call__(self, u: Array, do: Intervention | None = None) -> Array:
        """z [B, n, dim] of the noise u [B, n, dim], perhaps with an intervention."""
        z: dict[int, Array] = {}
        for i in self.graph.order:
            z[i] = self._from_parents(i, z) + u[:, i] if self.graph.parents[i] else u[:, i]
            if do is not None:
                z[i] = intervened(z[i], do, i)
        return jnp.stack([z[i] for i in range(len(self.graph.names))], axis=1)

    def noise(self, z: Array) -> Array:
        """u [B, n, dim] of the latents z [B, n, dim], z_i - f_i(z of the parents of i): the inverse of `__call__`."""
        given = {i: z[:, i] for i in range(len(self.graph.names))}
        parts = [z[:, i] - self._from_parents(i, given) if of else z[:, i] for i, of in enumerate(self.graph.parents)]
        return jnp.stack(parts, axis=1)

    def _from_parents(self, i: int, z: Mapping[int, Array]) -> Array:
        """What the parents of variable i make of it, [B, dim]."""
        mechanism = self.mechanisms[i]
        assert mechanism is not None
        return mechanism([z[j] for j in self.graph.parents[i]])

    def noise_std(self) -> Array:
        """The standard deviation of the noise of each variable [n], which is learned."""
        return jnp.exp(self.log_noise_std)


def intervened(z: Array, do: Intervention, i: int) -> Array:
    """z [B, dim] of variable i after an intervention on it."""
    return jnp.where(do.fixed[:, i, None], do.values[:, i, None], z + do.shift[:, i, None])


class _Perceptron(nn.Module):
    """Dense layers of these sizes, on the concatenation of several vectors."""

    sizes: Sequence[int]

    @nn.compact
    def __call__(self, vectors: Sequence[Array]) -> Array:
        h = jnp.concatenate(vectors, axis=-1)
        for size in self.sizes[:-1]:
            h = ACTIVATIONS["swish"](nn.Dense(size)(h))
        return nn.Dense(self.sizes[-1], precision=jax.lax.Precision.HIGHEST)(h)
