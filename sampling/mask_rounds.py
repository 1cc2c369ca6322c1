"""Generation of masked tokens in rounds: each reveals some more of a random order, given those that are known."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import SampleKey, SequenceKey, fold_in
from corruption.masking import keys_of_tokens, places, revealed
from sampling.base import Constrain, Samples, Start, keys_of_examples, unconstrained
from sampling.loop import record, slots, unrecorded

State = tuple[Array, ...]  # of tokens, [B, L, ...] each


class TokenModel(NamedTuple):
    """What tokens are sampled from.

    state: `(tokens [B, L, ...], masked [B, L]) -> State`, of all tokens given those that are not masked.
    sample: `(keys [N], state of N tokens) -> (tokens [N, ...], calls of the head)`, each by itself.
    """

    state: Callable[[Array, Array], State]
    sample: Callable[[Array, State], tuple[Array, Array]]


@dataclasses.dataclass(frozen=True)
class MaskRounds:
    """Sampling of tokens in rounds; a `Sampler` (see `sampling.base.Sampler`) whose prediction is a `TokenModel`.

        for each round:   state = states of all tokens given the known ones
                          the next tokens of the order ~ sample(state of each)

    known: how many tokens are known after each round (`corruption.masking.known_after`). blank: the shape and type of
    tokens [L, ...]. to_example: from tokens [B, L, ...] to examples. Tokens of a round are independent of each other.
    num_evals: calls of the network, one in each round, and of the head.
    Errors: ValueError for a start or a constraint, which tokens do not have.
    Source: Li et al., "Autoregressive Image Generation without Vector Quantization", NeurIPS 2024, section 4.
    """

    known: Sequence[int]
    blank: jax.ShapeDtypeStruct
    to_example: Callable[[Array], Array]

    def __call__(
        self,
        key: Array,
        predict: Any,
        shape: Sequence[int],
        *,
        start: Start | None = None,
        constrain: Constrain = unconstrained,
        trajectory: int = 0,
    ) -> Samples:
        """Samples [B, ...]."""
        if start is not None or constrain is not unconstrained:
            raise ValueError("Tokens that are revealed in rounds have neither a start nor a constraint.")
        B, L = shape[0], self.blank.shape[0]
        keys = fold_in(keys_of_examples(key, B), SampleKey.SEQUENCE)
        place = places(fold_in(keys, SequenceKey.ORDER), L)
        order, known = jnp.argsort(place, axis=1), (0, *self.known)
        width, of_tokens = max(b - a for a, b in itertools.pairwise(known)), fold_in(keys, SequenceKey.TOKENS)

        def body(carry: tuple[Array, Array | None], inputs: tuple) -> tuple[tuple[Array, Array | None], Array]:
            (tokens, states), (number, slot, first, last) = carry, inputs
            state = predict.state(tokens, place >= first)
            chosen, given = revealed(order, first, last, width)
            row = jnp.arange(B)[:, None]
            flat = jax.tree.map(lambda a: a[row, chosen].reshape(B * width, *a.shape[2:]), state)
            found, calls = predict.sample(keys_of_tokens(fold_in(of_tokens, number), chosen).reshape(-1), flat)
            found = found.reshape(B, width, *tokens.shape[2:]).astype(tokens.dtype)
            tokens = tokens.at[row, jnp.where(given, chosen, L)].set(found, mode="drop")
            return (tokens, record(states, slot, self.to_example(tokens))), calls

        tokens = jnp.zeros((B, *self.blank.shape), self.blank.dtype)
        states = unrecorded(jax.eval_shape(self.to_example, tokens), trajectory)
        steps = jnp.asarray(known, jnp.int32)
        inputs = (jnp.arange(len(self.known)), slots(len(self.known), trajectory), steps[:-1], steps[1:])
        (tokens, states), calls = jax.lax.scan(body, (tokens, states), inputs)
        return Samples(self.to_example(tokens), len(self.known) + jnp.sum(calls), states)
