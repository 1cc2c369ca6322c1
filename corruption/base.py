"""What a corruption process is to a sampler and to an objective."""

from collections.abc import Sequence
from typing import Any, Protocol

from core.arrays import Array


class Process(Protocol):
    """How data are corrupted between t = 0, the data, and t = 1, and how a prediction of the data reverses it.

    Arrays x are [B, ...] of any dtype, times [B], `keys` one per example [B]. A discrete-time process is one whose
    samplers stay on a grid of times.
    """

    @property
    def is_discrete(self) -> bool:
        """Whether its grids of times end below zero, at the data, as those of a Markov chain of levels do."""
        ...

    def prior(self, keys: Array, shape: Sequence[int]) -> Array:
        """A sample of x at t = 1, of `shape` [B, ...]; consumes the keys."""
        ...

    def corrupt(self, keys: Array, x0: Array, t: Array) -> tuple[Array, Any]:
        """x at times t given the data x0, and the target that a prediction at x is compared with; consumes the keys."""
        ...

    def error(self, prediction: Any, target: Any, t: Array) -> Array:
        """The error of a prediction, without a weight, at each dimension or site: [B, ...], to be squared or summed."""
        ...

    def reverse_step(self, keys: Array, prediction: Any, x: Array, t: Array, t_next: Array) -> tuple[Array, Array]:
        """x at t_next < t given x at t, by what is predicted of the data, and its expectation; consumes the keys."""
        ...
