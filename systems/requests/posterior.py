"""Samples of the posterior given measurements, in batches, by one compiled program."""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from builders import inverse
from builders.guidance import Asked
from core.arrays import Array
from core.keys import RestorationKey, restoration_key, sample_keys
from sampling.inverse.operators.base import LinearOperator, of_examples
from sampling.observation_guidance import quantile_levels
from systems.requests.base import LabelsOf, batch_size, in_batches, without_labels
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Samples the posterior by `sampler`; compiled once for all measurements of one shape."""

    system: "Diffusion"
    sampler: inverse.PosteriorSampler

    @functools.cached_property
    def compiled(self) -> Callable[..., dict[str, Array]]:
        """`(params, guide, keys [B], labels, operator, y [B, ...], levels [B]) -> {"samples", "num_evals"}`."""

        def fn(
            params: Any, guide: Any, keys: Array, labels: Asked, operator: Any, y: Array, levels: Array
        ) -> dict[str, Array]:
            found = self.sampler(keys, self.system.guide.predict_of(params, guide, labels), operator, y, levels)
            return {"samples": found.x, "num_evals": found.num_evals}

        return jax.jit(fn)

    def __call__(
        self,
        operator: LinearOperator,
        y: Any,
        num: int,
        variables: Variables,
        number: int,
        labels_of: LabelsOf = without_labels,
        index: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """ "samples" [N, num, ...], as the network sees them, given each measurement y [N, ...], and "num_evals".

        index: the numbers [N] of the examples, which address their random numbers; by default 0 ... N - 1.
        """
        system = self.system
        operator = inverse.with_singular_values(system.config, operator)
        key = restoration_key(system.key, number, RestorationKey.POSTERIOR)
        y, total = jnp.asarray(y), len(y) * num
        examples = np.arange(len(y)) if index is None else np.asarray(index)

        def generate(rows: np.ndarray) -> dict[str, Array]:
            keys = sample_keys(key, examples[rows // num], rows % num)
            levels = quantile_levels(jnp.asarray(rows % num), num)
            of_rows = (keys, labels_of(rows // num), y[rows // num], levels)
            keys, labels, given, levels = system.devices.shard_rows(of_rows)
            own = of_examples(operator, rows // num)
            return self.compiled(variables["params"], system.guide.params, keys, labels, own, given, levels)

        found = in_batches(generate, total, batch_size(system, total))
        return found | {"samples": found["samples"].reshape(len(y), num, *system.spec.shape)}


def posterior_samples(
    system: "Diffusion",
    sampler: inverse.PosteriorSampler,
    operator: LinearOperator,
    y: Any,
    num: int,
    variables: Variables,
    number: int,
    labels_of: LabelsOf = without_labels,
) -> dict[str, Any]:
    """The samples of `Posterior`, once."""
    return Posterior(system, sampler)(operator, y, num, variables, number, labels_of)
