"""The memory of devices: what a compiled program needs, what a device has, and batches that fit."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.memory import host_bytes, resident_bytes
from runtime.malloc import release_memory


def needed_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes of each device that a program needs: inputs, outputs and temporaries, without aliased ones; 0: unknown."""
    found = compiled.memory_analysis()
    return (
        int(found.argument_size_in_bytes + _bytes_besides_inputs(compiled) - found.alias_size_in_bytes) if found else 0
    )


def _bytes_besides_inputs(compiled: jax.stages.Compiled) -> int:
    found = compiled.memory_analysis()
    if found is None:
        return 0
    return int(found.output_size_in_bytes + found.temp_size_in_bytes + found.generated_code_size_in_bytes)


def max_in_flight(device: jax.Device) -> int:
    """The number of dispatched programs that a device should have at a time, where each takes the result of the last.

    Three keep an accelerator busy while Python prepares the next. A CPU allocates the temporary memory of a program
    when it is dispatched, even while another one runs, and Python costs it little: one.
    """
    return 1 if device.platform == "cpu" else 3


class Memory(NamedTuple):
    """Bytes that a program needs and bytes that there are; 0: unknown."""

    needed: int
    limit: int


def step_memory(compiled: jax.stages.Compiled, device: jax.Device) -> Memory:
    """The memory of a program that runs again and again on a device, and the memory of the device.

    On a CPU both are those of this process: what is resident now, which includes the inputs, and the temporary memory
    of the programs in flight on all of its devices.
    """
    if device.platform != "cpu":
        return Memory(needed_bytes(compiled), limit_bytes(device))
    release_memory()
    found = compiled.memory_analysis()
    resident = resident_bytes()
    if found is None or not resident:
        return Memory(0, 0)
    fresh = _bytes_besides_inputs(compiled) - int(found.alias_size_in_bytes)
    in_flight = max_in_flight(device) * len(jax.local_devices(backend="cpu"))
    return Memory(resident + in_flight * fresh, host_bytes(resident))


def limit_bytes(device: jax.Device) -> int:
    """Bytes that a device has; 0: unknown, as for a CPU."""
    return int(_stats(device).get("bytes_limit", 0))


def free_bytes(device: jax.Device) -> int:
    """Bytes of a device that are not in use; 0: unknown."""
    return max(0, limit_bytes(device) - int(_stats(device).get("bytes_in_use", 0)))


def _stats(device: jax.Device) -> Mapping[str, int]:
    """What a device says of its memory: nothing where it only compiles, see `runtime.topology`."""
    try:
        return device.memory_stats() or {}
    except jax.errors.JaxRuntimeError:
        return {}


def largest_batch(requested: int, multiple: int, needed: Callable[[int], int], limit: int) -> int:
    """The first of `requested`, its half, its quarter, ..., rounded up to a multiple, with needed(size) <= limit.

    With a `limit` of 0, which means unknown, `requested`. The smallest multiple is returned even if it does not fit.
    `needed` is called for each size that is tried, and compiles a program.
    """
    size = requested
    while limit and size > multiple and needed(size) > limit:
        size = -(-max(1, size // 2) // multiple) * multiple
    return size


class MemoryBoundedSampler:
    """A compiled sampler that generates as many samples at a time as the devices have memory for.

    `function(params, other, keys [N], labels) -> {name: [N, ...]}`, where "num_evals" is a number; labels: arrays
    [N, ...], or None. A sample depends only on its own key, so it is the same in any part. The size of a part is a
    multiple of `multiple`.
    `free()`: bytes of a device that are not in use; 0: unknown, and all samples are one part.
    """

    def __init__(self, function: Any, multiple: int, free: Callable[[], int]):
        self._function, self._multiple, self._free = function, multiple, free
        self._size = 0  # of a part; 0: not determined yet

    def __call__(self, params: Any, other: Any, keys: Array, labels: Any) -> dict[str, Array]:
        """All samples; those of several parts are on the host."""
        num = len(keys)
        if not self._size:
            self._size = self._fit(params, other, keys, labels)
        if self._size >= num:
            return self._function(params, other, keys, labels)
        starts = range(0, num, self._size)
        parts = [jax.device_get(self._function(params, other, *self._rows(keys, labels, start))) for start in starts]
        return self._concatenated(parts, num)

    def _fit(self, params: Any, other: Any, keys: Array, labels: Any) -> int:
        num, free = len(keys), self._free()
        self._size = num

        def needed(size: int) -> int:
            self._size = size
            return _bytes_besides_inputs(self._function.lower(params, other, *self._rows(keys, labels, 0)).compile())

        size = largest_batch(num, self._multiple, needed, free)
        if size < num:
            logging.info(
                "%d samples do not fit into %.0f MiB at once; generating %d at a time", num, free / 2**20, size
            )
        return size

    def _rows(self, keys: Array, labels: Any, start: int) -> tuple[Array, Any]:
        """Keys and labels of a part; past the end, the last one is repeated."""
        rows = np.minimum(np.arange(start, start + self._size), len(keys) - 1)
        return jax.device_put(keys[rows], keys.sharding), jax.tree.map(lambda values: values[rows], labels)

    @staticmethod
    def _concatenated(parts: list[Mapping[str, Any]], num: int) -> dict[str, Array]:
        evaluations = np.max([part["num_evals"] for part in parts])
        rest = {k: np.concatenate([part[k] for part in parts])[:num] for k in parts[0] if k != "num_evals"}
        return {**{k: jnp.asarray(v) for k, v in rest.items()}, "num_evals": jnp.asarray(evaluations)}
