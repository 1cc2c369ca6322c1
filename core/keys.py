"""Random numbers by address: every draw is `fold_in` of a key with a registered purpose, a step or an example's index.

Nothing stores or splits a key, so a random number depends neither on the batch it was computed in nor on how many
draws came before. The enumerations below list what may be folded into which key; two purposes of one key differ.
"""

import enum
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from core.arrays import Array


class RunKey(enum.IntEnum):
    """Purposes of the root key of a run, `jax.random.key(config.seed)`."""

    INIT = 0
    TRAIN = 1  # then the step
    SAMPLE = 2  # then the checkpoint and the sample
    LOSS = 3  # the loss of an evaluation; then the example
    LIKELIHOOD = 4  # then the repetition and the example
    RESTORE = 5  # then the checkpoint
    DEQUANTIZE = 6
    TEST_LOSS = 7  # the loss of a test batch during training; then the step and the example
    START = 8  # noise of the training examples that samples start from, and the map onto them; then a `StartKey`


class InitKey(enum.IntEnum):
    """Purposes of the key of the initial parameters, beside the network's own addresses."""

    UNCERTAINTY = 0xDEED0  # the learned weight of noise levels
    SCHEDULE = 0xDEED1  # the learned schedule of noise


class StepKey(enum.IntEnum):
    """Purposes of the key of a training step."""

    EXAMPLES = 0  # then the row of the batch
    DROPOUT = 1


class DropoutKey(enum.IntEnum):
    """Purposes of a dropout key beside dropout itself, which takes flax's own addresses."""

    LABELS = 0xC1A55  # which class labels are dropped
    SIGNALS = 0x516A1  # which other conditions are dropped; then the CRC-32 of the name


class ExampleKey(enum.IntEnum):
    """Purposes of the key of a training example."""

    DATA = 0
    TIME = 1
    NOISE = 2
    AUGMENT = 3
    RESTART = 4  # of dead codes; of the first example
    LATENT = 5  # which latents stand for the example
    DECODER = 6  # the noise from which levels are decoded
    INTERVAL = 7  # from its time to a second one; then an `IntervalKey`
    SEQUENCE = 9  # then a `SequenceKey`


class SequenceKey(enum.IntEnum):
    """Purposes of the key of an example in a sequence of a text and image tokens."""

    KIND = 0  # of the sequence
    SHARE = 1  # of masked tokens
    ORDER = 2  # of tokens
    TOKENS = 3  # then the token and its repetition
    TEXT = 4  # then the token


class IntervalKey(enum.IntEnum):
    """Purposes of the key of an interval of times."""

    WHETHER = 0  # it is empty
    END = 1


class SampleKey(enum.IntEnum):
    """Purposes of the key of a sample."""

    PRIOR = 0
    STEPS = (
        1  # then the step, the corrector step (0 is the predictor), and 0 for the step's noise, 1 for a constraint's
    )
    END = 2
    LATENT = 3  # the noise of a causal latent
    TARGET = 4  # which training example it starts from
    SEQUENCE = 5  # then a `SequenceKey`; of tokens, the round first


class StartKey(enum.IntEnum):
    """Purposes of the key of starts from training examples."""

    NOISE = 0  # then the training example
    TRANSPORT = 1  # then the class
    CENTERS = 2  # of cells; then the class
    SINGULAR = 3  # samples of the prior for which singular pairs are counted


class CategoryKey(enum.IntEnum):
    """Purposes of the key of an example whose categories are corrupted."""

    WHETHER = 0
    WHICH = 1


class MixtureKey(enum.IntEnum):
    """Purposes of the key of a sample of a mixture."""

    COMPONENT = 0
    NOISE = 1


class RestorationKey(enum.IntEnum):
    """Purposes of the key of a restoration task."""

    MEASUREMENT = 0  # then the image
    POSTERIOR = 1  # then the image and the sample
    CLASS = 2  # of a sample, given what is known; then the image and the sample


class LikelihoodKey(enum.IntEnum):
    """Purposes of the key of an example whose likelihood is computed."""

    DATA = 0
    PROBES = 1
    NOISE = 2
    SAMPLES = 3  # then the importance sample


class BoundKey(enum.IntEnum):
    """Purposes of the key of an example whose variational bound is computed."""

    TIME = 0
    NOISE = 1
    DECODER = 2


class DequantizationKey(enum.IntEnum):
    """Purposes of the key of the variational dequantization."""

    FLOW = 0
    BOUND = 1
    INIT = 2
    STEPS = 3  # then the step


class AugmentationKey(enum.IntEnum):
    """Purposes of the key of an augmented example: one for each transformation; then an `AugmentationDraw`."""

    X_FLIP = 0
    Y_FLIP = 1
    SCALE = 2
    ROTATION = 3
    ANISOTROPY = 4
    TRANSLATION = 5


class AugmentationDraw(enum.IntEnum):
    """Purposes of the key of one transformation."""

    WHETHER = 0
    HOW = 1
    DIRECTION = 2


def fold_in(keys: Array, data: int | Array) -> Array:
    """`jax.random.fold_in` for one key or for an array of keys [B]."""
    if keys.ndim == 0:
        return jax.random.fold_in(keys, data)
    return jax.vmap(lambda key: jax.random.fold_in(key, data))(keys)


def restoration_key(run: Array, number: int, purpose: RestorationKey) -> Array:
    """The key of a task that restores examples by checkpoint `number`, from that of the run."""
    return fold_in(fold_in(fold_in(run, RunKey.RESTORE), number), purpose)


def keys_at(key: Array, indices: ArrayLike) -> Array:
    """The keys of the examples `indices` [B]: `fold_in(key, i)`, so an example never depends on its batch."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.asarray(indices))


def sample_keys(key: Array, examples: ArrayLike, samples: ArrayLike) -> Array:
    """The keys of the sample `samples` [B] of each of the examples `examples` [B]: `fold_in(fold_in(key, i), s)`."""
    return jax.vmap(jax.random.fold_in)(keys_at(key, examples), jnp.asarray(samples))


def example_keys(key: Array, num: int, start: int = 0) -> Array:
    """The keys of examples `start ... start + num - 1`."""
    return keys_at(key, jnp.arange(start, start + num))


def draw_normal(keys: Array, shape: Sequence[int]) -> Array:
    """Standard normal noise of `shape` [B, ...] from one key, or from one key per example (`keys` [B])."""
    if keys.ndim == 0:
        return jax.random.normal(keys, tuple(shape))
    return jax.vmap(lambda key: jax.random.normal(key, tuple(shape[1:])))(keys)
