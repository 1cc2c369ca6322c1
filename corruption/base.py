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

    def step_nats(self, prediction: Any, x0: Array, x: Array, t: Array, t_next: Array) -> Array:
        """`KL(q(x_s | x_t, x0) | p(x_s | x_t))`, s = t_next < t: a step's term of the bound on -log p(x0), [B] in nats.

        p is what `reverse_step` samples. The terms of all steps and `prior_nats` add up to the bound, once the last
        step, to the data, has the term -log p(x0 | x_t).
        """
        ...

    def prior_nats(self, x0: Array) -> Array:
        """`KL(q(x_1 | x0) | prior)`, what the bound has beside its steps: [B] in nats."""
        ...
