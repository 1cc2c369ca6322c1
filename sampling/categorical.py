"""Sampling of categories: sharper predictions, unmasking in the order of confidence, and sites that are known."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import CategoryKey, SampleKey, fold_in
from corruption.categorical import NEVER, Absorbing, CategoricalNoise, choose_states
from corruption.predictions import Categorical, PredictCategories
from sampling.base import Constrain, Sample, Samples, keys_of_examples
from sampling.loop import AnyPredict, FixedStep, OneCall

COLDEST = 1e-6  # instead of a temperature of 0


def sharpened(predict: PredictCategories, temperature: float = 1.0, top_p: float = 1.0) -> PredictCategories:
    """The prediction with `log_probs / temperature`, restricted to the likeliest categories, normalized.

    top_p: the fewest categories that together have at least this probability keep theirs.
    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020, section 3.1.
    """

    return lambda z, t: Categorical(sharper(predict(z, t).log_probs, temperature, top_p))


def sharper(log_probs: Array, temperature: float, top_p: float) -> Array:
    """The logarithms of sharper probabilities, [..., K]; see `sharpened`."""
    log_probs = jax.nn.log_softmax(log_probs / max(temperature, COLDEST))
    if top_p < 1:
        ordered = -jnp.sort(-log_probs, axis=-1)
        before = jnp.cumsum(jnp.exp(ordered), axis=-1) - jnp.exp(ordered)
        last = jnp.sum(before < top_p, axis=-1, keepdims=True) - 1  # the least likely one that is kept
        lowest = jnp.take_along_axis(ordered, jnp.maximum(last, 0), axis=-1)
        log_probs = jax.nn.log_softmax(jnp.where(log_probs < lowest, NEVER, log_probs))
    return log_probs


class Confident(NamedTuple):
    """x and mean, as of `Sample`; `confidence` [B, ...] of the shown sites; `hidden` [B]: how many were to be shown."""

    x: Array
    mean: Array
    confidence: Array
    hidden: Array


@dataclasses.dataclass(frozen=True)
class Confidence(OneCall):
    """Shows the sites of whose category the prediction is the surest; a `Stepper` (see `sampling.loop.Stepper`).

    At t_next, `noise(t_next)` of the sites that were masked at the start are masked. A masked site samples its
    category; its confidence is the log-probability of that category, plus Gumbel noise times the time t_next.
    `remasking`: sites that were shown before compete with their confidence of then, and may be masked again; without it
    they stay.
    Source: Chang et al., CVPR 2022 (MaskGIT), section 3.2.
    Notes: not an exact sampler: with exact predictions, too, likely sites are shown too early.
    """

    process: Absorbing
    remasking: bool = False

    def init(self, x: Array) -> Confident:
        """x, where every site that is not masked is certain."""
        masked = x == self.process.mask
        hidden = jnp.sum(masked.reshape(len(x), -1), axis=-1)
        return Confident(x, x, jnp.where(masked, -jnp.inf, jnp.inf), hidden)

    def step(self, keys: Array, predict: AnyPredict, state: Confident, t: Array, t_next: Array, row: Any) -> Confident:
        """Shows the surest sites, and masks the others."""
        log_probs, masked = predict(state.x, t).log_probs, state.x == self.process.mask
        x0 = choose_states(fold_in(keys, CategoryKey.WHICH), log_probs)
        sure = jnp.take_along_axis(log_probs, x0[..., None], axis=-1)[..., 0]
        gumbel = jax.vmap(lambda key: jax.random.gumbel(key, x0.shape[1:]))(fold_in(keys, CategoryKey.WHETHER))
        noisy = sure + broadcast_to_rank(t_next, sure) * gumbel
        confidence = jnp.where(masked, noisy, state.confidence)
        flat = confidence.reshape(len(x0), -1)
        stay = jnp.round(self.process.schedule.noise(t_next) * state.hidden).astype(jnp.int32)
        rank = jnp.argsort(jnp.argsort(flat, axis=-1), axis=-1)  # 0: the least sure
        hidden = (rank < stay[:, None]).reshape(x0.shape)
        x = jnp.where(hidden, self.process.mask, jnp.where(masked, x0, state.x)).astype(state.x.dtype)
        shown_before = sure if self.remasking else jnp.inf
        confidence = jnp.where(hidden, -jnp.inf, jnp.where(masked, shown_before, state.confidence))
        return Confident(x, x, confidence, state.hidden)


def known_sites(process: CategoricalNoise, x0: Array, known: Array) -> Constrain:
    """The constraint that sets the sites where `known` to data x0 [B, ...], as far as they may be seen at the time.

    No retraining: the others are sampled given these. Exact for a masking process with exact predictions; a site with
    uniform noise shows its data only little by little. Source: Lugmayr et al., CVPR 2022 (RePaint), section 4.1.
    """

    def constrain(keys: Array, sample: Sample, t: Array) -> Sample:
        x = jnp.where(known, process.clamp(keys, x0, t), sample.x).astype(sample.x.dtype)
        return Sample(x, x)

    return constrain


def complete(
    sampler: FixedStep,
    process: CategoricalNoise,
    keys: Array,
    predict: PredictCategories,
    x0: Array,
    known: Array,
    trajectory: int = 0,
) -> Samples:
    """Samples that agree with x0 [B, ...] where `known` (bool, broadcastable to it)."""
    shape: Sequence[int] = x0.shape
    constrain, keys = known_sites(process, x0, known), keys_of_examples(keys, len(x0))
    own = fold_in(keys, SampleKey.PRIOR)
    prior = process.prior(own, shape)
    start = constrain(own, Sample(prior, prior), jnp.ones(len(x0)))
    first = float(sampler.times[0])
    return sampler(keys, predict, shape, start=(start.x, first), constrain=constrain, trajectory=trajectory)
