"""The devices of a run, from the config: over which of them batches and the training state are divided."""

import dataclasses
import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

FEWEST = 4  # images of a device that is a share of a processor: with fewer, convolutions are slower
MOST = 8  # such devices by default: each has all parameters in memory, for which it was not asked
SMALL = 2**12  # elements below which an array is not divided: to collect it takes longer than it saves


@dataclasses.dataclass(frozen=True)
class Devices:
    """A mesh with the axes `data` and `fsdp`: batches are divided over both, arrays of the state over the second.

    Everything else is replicated. With one device along `fsdp` so is the state: plain data parallelism. With more each
    device keeps its share of the parameters, their averages and the optimiser's moments, and a program collects the
    parameters when it begins (`whole`). Source: Rajbhandari et al., "ZeRO", 2020 (stage 3); Zhao et al., "PyTorch
    FSDP", 2023.
    """

    mesh: Mesh

    @property
    def count(self) -> int:
        """Number of devices."""
        return math.prod(self.mesh.shape.values())

    def round_up(self, size: int) -> int:
        """The least multiple of the number of devices that is not below `size`."""
        return -(-size // self.count) * self.count

    @functools.cached_property
    def replicated(self) -> NamedSharding:
        """The same array on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @functools.cached_property
    def split(self) -> NamedSharding:
        """The first axis divided over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(("data", "fsdp")))

    @functools.cached_property
    def split_second(self) -> NamedSharding:
        """The second axis divided over the devices: batches with a leading axis of steps."""
        return NamedSharding(self.mesh, PartitionSpec(None, ("data", "fsdp")))

    def of_state(self, tree: Any) -> Any:
        """For each array of a tree, or its shape, how it is divided over `fsdp`: along its largest axis that divides.

        Arrays with less than `SMALL` elements, and those of which no axis divides, are replicated.
        """
        return jax.tree.map(lambda leaf: self._divided(leaf.shape), tree)

    def _divided(self, shape: tuple[int, ...]) -> NamedSharding:
        shares = self.mesh.shape["fsdp"]
        axes = [axis for axis, size in enumerate(shape) if size % shares == 0]
        if shares == 1 or math.prod(shape) < SMALL or not axes:
            return self.replicated
        longest = max(axes, key=lambda axis: shape[axis])
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * longest, "fsdp"))

    def whole(self, tree: Any) -> Any:
        """Inside a compiled function: the arrays of a tree, collected on every device.

        Its gradient is divided again, so that a device sums its own share alone.
        """
        if self.mesh.shape["fsdp"] == 1:
            return tree
        constrain = jax.lax.with_sharding_constraint

        @jax.custom_vjp
        def collect(tree: Any) -> Any:
            return constrain(tree, self.replicated)

        collect.defvjp(
            lambda tree: (constrain(tree, self.replicated), None),
            lambda _, gradient: (constrain(gradient, self.of_state(gradient)),),
        )
        return collect(tree)

    def bytes_of_each(self, tree: Any) -> int:
        """Bytes of a tree of arrays, or of their shapes, that each device keeps when it is divided by `of_state`."""
        return sum(
            math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf, sharding in zip(jax.tree.leaves(tree), jax.tree.leaves(self.of_state(tree)), strict=True)
        )


def divide_processor(config: ConfigDict, asked: int | None, draws: bool) -> None:
    """Makes a processor count as several devices, which share every batch; before the first device is asked for.

    XLA's threads help each other with one convolution badly, but programs of several devices run beside each other.
    asked: how many; None: one for a program that trains, whose figures then do not depend on the machine; for one that
    draws or measures (`draws`) as many as there are cores, divide its batches and leave `FEWEST` images to each, but
    `MOST`. XLA_FLAGS that say a number keep it.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    jax.config.update("jax_num_cpu_devices", asked or (_shares_of_processor(config, num_cores()) if draws else 1))


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares_of_processor(config: ConfigDict, cores: int) -> int:
    """The largest number of devices, up to `cores`, that `devices` takes and that have enough to do."""
    most = min(cores, config.eval.batch_size // FEWEST, MOST)
    return next((count for count in range(most, 1, -1) if not _obstacle(config, count)), 1)


def devices(config: ConfigDict, chosen: Sequence[jax.Device] | None = None) -> Devices:
    """The mesh over the given devices, all of them by default.

    Errors: ValueError where the number of devices does not divide a batch, or `training.fsdp` not that number.
    """
    chosen = list(chosen) if chosen is not None else jax.devices()
    if obstacle := _obstacle(config, len(chosen)):
        raise ValueError(obstacle)
    shares = config.training.fsdp
    mesh = jax.make_mesh(
        (len(chosen) // shares, shares), ("data", "fsdp"), devices=chosen, axis_types=(AxisType.Auto,) * 2
    )
    return Devices(mesh)


def _obstacle(config: ConfigDict, count: int) -> str:
    """Why `count` devices cannot share the batches or the state, in one sentence; empty where they can."""
    shares, parts = config.training.fsdp, config.training.grad_accumulation
    for key in ("training.batch_size", "eval.batch_size"):
        section, name = key.split(".")
        if config[section][name] % count:
            return (
                f"config.{key} = {config[section][name]} is not divisible by the number of devices, {count}; "
                f"use a multiple of {count}."
            )
    if config.training.batch_size % (parts * count):
        return (
            f"config.training.grad_accumulation = {parts} makes parts of {config.training.batch_size // parts} images, "
            f"which {count} devices cannot share; use config.training.batch_size = a multiple of "
            f"{parts * count}, or fewer parts."
        )
    if count % shares:
        return (
            f"config.training.fsdp = {shares} does not divide the number of devices, {count}; use 1, which any "
            "checkpoint can be read with, or a divisor."
        )
    return ""
