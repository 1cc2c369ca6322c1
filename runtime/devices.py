"""The devices of a run: which of them share each batch, and which share the training state."""

import dataclasses
import functools
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MAX_SHARDS_OF_AN_AXIS = 8  # axes of arrays that the shards of one host do not divide are rare
MIN_SHARDED_SIZE = 2**12  # smaller arrays are replicated: gathering them takes longer than their memory is worth


@dataclasses.dataclass(frozen=True)
class Devices:
    """A mesh with the axes `data` and `fsdp`: batches are sharded over both, arrays of the state over `fsdp`.

    Everything else is replicated. With one device along `fsdp` the state is replicated too: plain data parallelism.
    With more, each device keeps its shard of the parameters, their averages and the optimizer's moments, and a compiled
    function gathers the parameters when it starts (`gather_params`). Source: Rajbhandari et al., "ZeRO", 2020 (stage
    3); Zhao et al., "PyTorch FSDP", 2023.

    Beyond `MAX_SHARDS_OF_AN_AXIS` shards, `fsdp` is several axes of the mesh, one for each prime factor, so that an
    array none of whose axes divides by all shards is sharded along several axes.
    """

    mesh: Mesh

    @property
    def count(self) -> int:
        """Number of devices."""
        return math.prod(self.mesh.shape.values())

    def round_up(self, size: int) -> int:
        """The smallest multiple of the number of devices that is at least `size`."""
        return -(-size // self.count) * self.count

    @functools.cached_property
    def shard_axes(self) -> tuple[str, ...]:
        """The axes of the mesh over which the state is sharded."""
        return tuple(name for name in self.mesh.axis_names if name != "data")

    @property
    def num_shards(self) -> int:
        """The devices over which the state is sharded."""
        return math.prod(self.mesh.shape[name] for name in self.shard_axes)

    @functools.cached_property
    def replicated(self) -> NamedSharding:
        """The whole array on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @functools.cached_property
    def batch_sharding(self) -> NamedSharding:
        """The first axis sharded over all devices."""
        return NamedSharding(self.mesh, PartitionSpec(("data", *self.shard_axes)))

    @functools.cached_property
    def stacked_batch_sharding(self) -> NamedSharding:
        """The second axis sharded over all devices: batches with a leading axis of steps."""
        return NamedSharding(self.mesh, PartitionSpec(None, ("data", *self.shard_axes)))

    def state_shardings(self, tree: Any) -> Any:
        """The sharding over `fsdp` of each array (or shape) in a tree: along its largest axis that divides evenly.

        Along several axes where none does and `fsdp` has several. Arrays of fewer than `MIN_SHARDED_SIZE` elements, or
        that cannot be divided, are replicated.
        """
        return jax.tree.map(lambda leaf: self._state_sharding(leaf.shape), tree)

    def _state_sharding(self, shape: tuple[int, ...]) -> NamedSharding:
        num_shards = self.num_shards
        if num_shards == 1 or math.prod(shape) < MIN_SHARDED_SIZE:
            return self.replicated
        whole = [axis for axis, size in enumerate(shape) if size % num_shards == 0]
        if whole:
            longest = max(whole, key=lambda axis: shape[axis])
            names = self.shard_axes if len(self.shard_axes) > 1 else self.shard_axes[0]
            return NamedSharding(self.mesh, PartitionSpec(*(None,) * longest, names))
        left = list(shape)  # each device's part
        assigned: list[tuple[str, ...]] = [()] * len(shape)
        for name in self.shard_axes:
            factor = self.mesh.shape[name]
            axes = [axis for axis in range(len(shape)) if left[axis] % factor == 0]
            if axes:  # the last one is the last to be divided: accelerators pad it to 128
                longest = max(axes[:-1] if axes[-1] == len(shape) - 1 and len(axes) > 1 else axes, key=left.__getitem__)
                left[longest] //= factor
                assigned[longest] += (name,)
        return NamedSharding(self.mesh, PartitionSpec(*(names or None for names in assigned)))

    def bytes_per_device(self, tree: Any) -> int:
        """Bytes that each device holds of a tree of arrays (or shapes) that is sharded by `state_shardings`."""
        return sum(
            math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf, sharding in zip(jax.tree.leaves(tree), jax.tree.leaves(self.state_shardings(tree)), strict=True)
        )

    def gather_params(self, params: Any) -> Any:
        """Inside a compiled function: sharded parameters, gathered on every device.

        Their gradient is sharded again, so that each device sums only its own shard. Both are in the type of `params`:
        without the first constraint, a conversion before it would be computed after the parameters were gathered.
        Inside a `jax.shard_map` over the mesh they are whole already.
        """
        if self.num_shards == 1 or jax.sharding.get_abstract_mesh().manual_axes:
            return params
        constrain = jax.lax.with_sharding_constraint

        @jax.custom_vjp
        def gather(tree: Any) -> Any:
            return constrain(constrain(tree, self.state_shardings(tree)), self.replicated)

        gather.defvjp(
            lambda tree: (gather(tree), None),
            lambda _, gradient: (constrain(gradient, self.state_shardings(gradient)),),
        )
        return gather(params)

    def replicate_params(self, params: Any) -> Any:
        """Outside of compiled functions: the parameters of a state, all of them on every device."""
        if self.num_shards == 1:
            return params
        return jax.jit(lambda params: params, out_shardings=self.replicated)(params)

    def replicate(self, tree: Any) -> Any:
        """Arrays on the host that every process has in full: all of them on every device."""
        if jax.process_count() > 1:  # an array cannot be put on another process's devices
            return jax.jit(lambda each: each, out_shardings=self.replicated)(tree)
        return jax.device_put(tree, self.replicated)

    def shard_batch(self, batch: Mapping[str, np.ndarray], stacked: bool = False) -> dict[str, Any]:
        """This process's rows of a batch on the host, sharded over the devices; `stacked`: [steps, B, ...]."""
        sharding = self.stacked_batch_sharding if stacked else self.batch_sharding
        return {
            name: jax.make_array_from_process_local_data(sharding, np.asarray(array)) for name, array in batch.items()
        }

    def shard_rows(self, rows: Any) -> Any:
        """Arrays [N, ...] that every process has in full: sharded over the devices where their number divides N."""
        even = all(len(leaf) % self.count == 0 for leaf in jax.tree.leaves(rows))
        sharding = self.batch_sharding if even else self.replicated
        if jax.process_count() > 1:  # an array cannot be put on another process's devices
            return jax.jit(lambda each: each, out_shardings=sharding)(rows)
        return jax.device_put(rows, sharding)


def make_devices(devices: Sequence[jax.Device] | None = None, num_shards: int = 1) -> Devices:
    """The mesh over the given devices, by default all; `num_shards` of them, a divisor, share one training state."""
    devices = list(devices) if devices is not None else jax.devices()
    shards = (num_shards,) if num_shards <= MAX_SHARDS_OF_AN_AXIS else tuple(_prime_factors(num_shards))
    names = ("fsdp", *(f"fsdp_{k}" for k in range(1, len(shards))))
    sizes = (len(devices) // num_shards, *shards)
    mesh = jax.make_mesh(sizes, ("data", *names), devices=devices, axis_types=(AxisType.Auto,) * len(sizes))
    return Devices(mesh)


def _prime_factors(number: int) -> Iterator[int]:
    factor = 2
    while number > 1:
        while number % factor == 0:
            yield factor
            number //= factor
        factor += 1


def announce(what: str) -> None:
    """Logs what is done and on which devices; to be called first. Errors: ValueError where JAX finds no device."""
    try:
        kind, count = jax.devices()[0].device_kind, jax.device_count()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that it found a device
        reason = (str(error).splitlines() or ["there is none"])[0].rstrip(".")
        asked = f"JAX_PLATFORMS={given}, but " if (given := os.environ.get("JAX_PLATFORMS")) else ""
        raise ValueError(
            f"{asked}JAX cannot use such a device here ({reason}); unset JAX_PLATFORMS, or install JAX for the device, "
            'as in `pip install "jax[cuda12]"`.'
        ) from error
    cores = f", {num_cores()} cores" if jax.default_backend() == "cpu" else ""
    logging.info("%s on %d x %s%s (JAX %s)", what, count, kind, cores, jax.__version__)


def num_cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_cpu_devices(count: int) -> None:
    """Makes a CPU count as several devices, unless XLA_FLAGS set their number; to be called before JAX starts up."""
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", count)
