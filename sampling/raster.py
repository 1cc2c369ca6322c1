"""Generation of tokens one after the other, each with one call of the network that sees those before it in a cache."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import SampleKey, SequenceKey, fold_in
from corruption.categorical import choose_states
from sampling.base import Constrain, Samples, Start, keys_of_examples, unconstrained
from sampling.categorical import sharper
from sampling.loop import record, slots, unrecorded


class NextToken(NamedTuple):
    """The model of a sequence of L tokens: logits [B, K] of one token, and a cache of those before it.

    begin: `number of examples B -> (logits of the first token, cache)`, one call of the network.
    after: `(token number i [B], i, cache) -> (logits of token i + 1, cache)`, another one.
    """

    begin: Callable[[int], tuple[Array, Any]]
    after: Callable[[Array, Array, Any], tuple[Array, Any]]


@dataclasses.dataclass(frozen=True)
class Raster:
    """Sampling of L tokens in their order; a `Sampler` (see `sampling.base.Sampler`) whose prediction is a `NextToken`.

        token i ~ p(. | tokens 0 ... i - 1)^(1 / temperature), restricted to the likeliest ones (`sampling.categorical`)

    to_example: from tokens [B, L] to examples. num_evals: L calls of the network.
    Errors: ValueError for a start or a constraint, which tokens do not have.
    """

    num_tokens: int
    to_example: Callable[[Array], Array]
    temperature: float = 1.0
    top_p: float = 1.0

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
            raise ValueError("Tokens that are sampled one after the other have neither a start nor a constraint.")
        B, L = shape[0], self.num_tokens
        keys = fold_in(fold_in(keys_of_examples(key, B), SampleKey.SEQUENCE), SequenceKey.TOKENS)

        def choose(logits: Array, tokens: Array, states: Array | None, i: Array, slot: Array) -> tuple:
            token = choose_states(fold_in(keys, i), sharper(logits, self.temperature, self.top_p))
            tokens = tokens.at[:, i].set(token)
            return token, tokens, record(states, slot, self.to_example(tokens))

        def body(carry: tuple, inputs: tuple[Array, Array]) -> tuple[tuple, None]:
            logits, cache, tokens, states = carry
            token, tokens, states = choose(logits, tokens, states, *inputs)
            return (*predict.after(token, inputs[0], cache), tokens, states), None

        tokens = jnp.zeros((B, L), jnp.int32)
        states = unrecorded(jax.eval_shape(self.to_example, tokens), trajectory)
        numbers, slot = jnp.arange(L), slots(L, trajectory)
        carry = (*predict.begin(B), tokens, states)
        (logits, _, tokens, states), _ = jax.lax.scan(body, carry, (numbers[:-1], slot[:-1]))
        _, tokens, states = choose(logits, tokens, states, numbers[-1], slot[-1])
        return Samples(self.to_example(tokens), jnp.int32(L), states)
