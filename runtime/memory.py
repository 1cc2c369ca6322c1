"""The memory of devices: how much a compiled program needs, how much there is, and batches that fit."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array


def needed_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes of a device that a program needs: what goes in, out and between, less what is shared; 0: not known."""
    found = compiled.memory_analysis()
    return int(found.argument_size_in_bytes + _beside_arguments(compiled) - found.alias_size_in_bytes) if found else 0


def _beside_arguments(compiled: jax.stages.Compiled) -> int:
    found = compiled.memory_analysis()
    if found is None:
        return 0
    return int(found.output_size_in_bytes + found.temp_size_in_bytes + found.generated_code_size_in_bytes)


def limit_bytes(device: jax.Device) -> int:
    """Bytes that a device has; 0 where it does not tell, as a CPU."""
    return int((device.memory_stats() or {}).get("bytes_limit", 0))


def free_bytes(device: jax.Device) -> int:
    """Bytes of a device that nothing lies in; 0 where it does not tell."""
    return max(0, limit_bytes(device) - int((device.memory_stats() or {}).get("bytes_in_use", 0)))


def largest_batch(asked: int, multiple: int, needed: Callable[[int], int], limit: int) -> int:
    """The first of `asked`, its half, its quarter ..., rounded up to a multiple, for which needed(size) <= limit.

    `limit` 0: not known, so `asked`. The least multiple is returned even where that does not fit. `needed` is called
    for each size that is tried, which compiles a program.
    """
    size = asked
    while limit and size > multiple and needed(size) > limit:
        size = -(-max(1, size // 2) // multiple) * multiple
    return size


class MemoryBoundedSampler:
    """A compiled function of examples that draws as many at a time as the devices have memory for.

    `function(params, other, keys [N], labels [N] or None) -> {name: [N, ...]}`, with "num_evals" a number. An example
    depends on its own key alone, so parts are the whole; `multiple` is what the size of a part must divide by, `free`
    tells the bytes that there are (0: not known, and all examples are one part).
    """

    def __init__(self, function: Any, multiple: int, free: Callable[[], int]):
        self._function, self._multiple, self._free = function, multiple, free
        self._size = 0  # of a part; 0: not yet known

    def __call__(self, params: Any, other: Any, keys: Array, labels: Array | None) -> dict[str, Array]:
        """All examples. Several parts lie on the host."""
        num = len(keys)
        if not self._size:
            self._size = self._fit(params, other, keys, labels)
        if self._size >= num:
            return self._function(params, other, keys, labels)
        starts = range(0, num, self._size)
        parts = [jax.device_get(self._function(params, other, *self._rows(keys, labels, at))) for at in starts]
        return self._together(parts, num)

    def _fit(self, params: Any, other: Any, keys: Array, labels: Array | None) -> int:
        num, free = len(keys), self._free()
        self._size = num

        def needed(size: int) -> int:
            self._size = size
            return _beside_arguments(self._function.lower(params, other, *self._rows(keys, labels, 0)).compile())

        size = largest_batch(num, self._multiple, needed, free)
        if size < num:
            logging.info("%d samples do not fit into %.0f MiB at a time: %d are drawn", num, free / 2**20, size)
        return size

    def _rows(self, keys: Array, labels: Array | None, start: int) -> tuple[Array, Array | None]:
        """The examples of a part; past the end the last one again."""
        rows = np.minimum(np.arange(start, start + self._size), len(keys) - 1)
        return jax.device_put(keys[rows], keys.sharding), None if labels is None else labels[rows]

    @staticmethod
    def _together(parts: list[Mapping[str, Any]], num: int) -> dict[str, Array]:
        evaluations = np.max([part["num_evals"] for part in parts])
        rest = {k: np.concatenate([part[k] for part in parts])[:num] for k in parts[0] if k != "num_evals"}
        return {**{k: jnp.asarray(v) for k, v in rest.items()}, "num_evals": jnp.asarray(evaluations)}
