"""What a tokenizer is to the systems that train it, and to models of what it encodes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from core.arrays import Array

Variables = dict[str, Any]
Features = Callable[[], Array]  # a sample of encoder features [N, D], computed when called


class Passed(NamedTuple):
    """What training sees of a batch: the reconstruction [B, ...], losses [B] by name, metrics, changed collections."""

    x: Array
    losses: dict[str, Array]
    metrics: dict[str, Array]
    collections: Variables


class Posterior(NamedTuple):
    """A normal distribution of latents [B, ...]."""

    mean: Array
    std: Array


class Tokenizer(Protocol):
    """From data x [B, *shape], as a network sees them, to codes and back.

    A code is a grid of tokens [B, *sides, 1], integers below `num_codes`, or of latents [B, *sides, D], float32, where
    `num_codes` is 0. `variables` are a dict of collections; nothing here changes them.
    `is_bijective`: whether decoding inverts encoding, at constant volume. `is_uncertain`: whether latents have a
    distribution given the data, `posterior`.
    """

    @property
    def num_codes(self) -> int:
        """The number of different tokens; 0 for latents."""
        ...

    @property
    def is_bijective(self) -> bool:
        """Whether nothing is lost."""
        ...

    @property
    def is_uncertain(self) -> bool:
        """Whether there is a `posterior`."""
        ...

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of a code."""
        ...

    def encode(self, variables: Variables, x: Array) -> Array:
        """The tokens of x, or the mean of its latents."""
        ...

    def decode(self, variables: Variables, codes: Array) -> Array:
        """The data of codes."""
        ...

    def posterior(self, variables: Variables, x: Array) -> Posterior | None:
        """The distribution of the latents given x; None where they are certain."""
        ...


class Trainable(Tokenizer, Protocol):
    """A tokenizer that `config.system = "tokenizer"` trains."""

    def init(self, key: Array) -> Variables:
        """The variables at step 0."""
        ...

    def start(self, variables: Variables, batches: Sequence[Array], seed: int) -> Variables:
        """The variables at step 0 after a start from data, batches [B, *shape]."""
        ...

    def reconstruct(self, variables: Variables, x: Array, keys: Array, *, train: bool) -> Passed:
        """What training sees; `keys` [B]."""
        ...
