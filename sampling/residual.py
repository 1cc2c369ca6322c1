"""Sampling of residual tokens: all positions at once in a few rounds, or one token after the other."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import CategoryKey, fold_in
from corruption.categorical import choose_states
from corruption.depth_mask import DepthMask, uniform_scores
from corruption.predictions import Mixture
from sampling.base import Sample
from sampling.categorical import COLDEST, sharper
from sampling.loop import AnyPredict, OneCall


def sharpened(predict: AnyPredict, temperature: float = 1.0, top_p: float = 1.0) -> AnyPredict:
    """The mixture with weights sharpened as in `sampling.categorical.sharpened`, and deviations times temperature."""

    def sharper_mixture(x: Array, t: Array) -> Mixture:
        found = predict(x, t)
        log_std = found.log_std + math.log(max(temperature, COLDEST))
        return Mixture(sharper(found.log_weights, temperature, top_p), found.mean, log_std)

    return sharper_mixture


@dataclasses.dataclass(frozen=True)
class Rounds(OneCall):
    """Samples all masked tokens of all positions, and masks the n(t_next) least sure ones again; a `Stepper`.

    A masked token of a position has the score

        log p + noise t_next g,    g: Gumbel noise of its own,   log p: how sure the sample of the position is

    the lowest scores stay masked, at each position the deepest tokens first. With the noise alone, this is
    `sampling.ancestral.Ancestral`, whose samples are those of the model whose likelihood is bounded.
    One prediction a round, whatever the depth. Source: Kim et al., ICML 2025, section 3.2; Chang et al., CVPR 2022.
    """

    process: DepthMask
    noise: float = 1.0

    def step(self, keys: Array, predict: AnyPredict, state: Sample, t: Array, t_next: Array, row: Any) -> Sample:
        """A round."""
        tokens, sure = self.process.tokens.draw(fold_in(keys, CategoryKey.WHICH), predict(state.x, t), state.x)
        u = uniform_scores(fold_in(keys, CategoryKey.WHETHER), state.x.shape)
        gumbel = -jnp.log(-jnp.log(jnp.clip(u, 1e-7, 1 - 1e-7)))
        scores = sure[..., None] + broadcast_to_rank(self.noise * t_next, gumbel) * gumbel
        x = self.process.shown(tokens, scores, state.x, t_next)
        return Sample(x, x)


@dataclasses.dataclass(frozen=True)
class OneByOne(OneCall):
    """Samples the first masked token, in the order of positions and depths; a `Stepper` with a step for each token.

    Predictions are `Categorical`; only that of this token is used. mask: the state of a masked token.
    """

    mask: int

    def step(self, keys: Array, predict: AnyPredict, state: Sample, t: Array, t_next: Array, row: Any) -> Sample:
        """A token."""
        flat = state.x.reshape(len(state.x), -1)
        tokens = choose_states(keys, predict(state.x, t).log_probs).reshape(flat.shape)
        masked = flat == self.mask
        is_next = masked & (jnp.cumsum(masked, axis=1) == 1)
        x = jnp.where(is_next, tokens, flat).reshape(state.x.shape).astype(state.x.dtype)
        return Sample(x, x)
