"""Training examples with noise as starts: a random one."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import SampleKey, draw_normal, fold_in, keys_at
from sde.base import SDE

NO_TARGET = -jnp.inf


def noised(sde: SDE, t: float, x: Array, key: Array) -> Array:
    """x_t = mean_coeff(t) x_i + std(t) z_i of examples x [N, ...]; example i always has the noise of `fold_in(key, i)`.

    Errors: none; t in (0, 1].
    """
    z = draw_normal(keys_at(key, jnp.arange(len(x))), x.shape)
    return sde.perturb(x, jnp.full((len(x),), t), z)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NoisedData:
    """Starts at one of `targets` [N, ...], training examples with noise, chosen at random; of classes `labels` [N].

    Source: the distribution of the starts of Meng et al. (SDEdit), ICLR 2022, where the image is the user's.
    """

    targets: Array
    labels: Array

    def __call__(self, sde: SDE, keys: Array, shape: Sequence[int], asked: Array | None) -> Array:
        """x [B, ...] at the time of the targets, each of the class `asked` [B]; of any class where it is None."""
        size = (len(keys), len(self.targets))
        scores = jax.vmap(lambda key: jax.random.uniform(key, size[1:]))(fold_in(keys, SampleKey.TARGET))
        return self.targets[jnp.argmax(of_class(scores, self.labels, asked), axis=1)]


def of_class(scores: Array, labels: Array, asked: Array | None) -> Array:
    """Scores [B, N] of targets, minus infinity for those whose class is not the one `asked` [B] for."""
    return scores if asked is None else jnp.where(labels[None] == asked[:, None], scores, NO_TARGET)
