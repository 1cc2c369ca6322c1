"""The devices that a config asks for, and whether they can share its batches and its training state."""

from collections.abc import Callable, Sequence

import jax
from ml_collections import ConfigDict

from builders.network import DTYPES
from runtime import devices
from runtime.devices import Devices
from training.exchange import Exchange
from training.objectives.base import Params

MIN_IMAGES_PER_CPU_DEVICE = 4  # with fewer, convolutions are slower
MAX_CPU_DEVICES = 8  # by default: each holds a copy of all parameters, which is more memory than was asked for


def make_devices(config: ConfigDict, chosen: Sequence[jax.Device] | None = None) -> Devices:
    """The mesh over the given devices, by default all.

    Errors: ValueError where the number of devices does not divide a batch, or `training.fsdp` that number.
    """
    chosen = list(chosen) if chosen is not None else jax.devices()
    if mismatch := _mismatch(config, len(chosen)):
        raise ValueError(mismatch)
    return devices.make_devices(chosen, config.training.fsdp)


def make_exchange(config: ConfigDict, devices: Devices, working: Callable[[Params], Params]) -> Exchange | None:
    """How devices exchange gradients: once per step, where the batch is in parts or a type is asked for.

    `working`: parameters in the types that the objective uses them in. None: as the compiler decides.
    """
    training = config.training
    if devices.count == 1 or (training.grad_accumulation == 1 and training.grad_dtype is None):
        return None
    return Exchange(devices, working, DTYPES[training.grad_dtype] if training.grad_dtype else None)


def set_num_cpu_devices(config: ConfigDict, requested: int | None, *, training: bool) -> None:
    """Splits a CPU into several devices that share every batch; to be called before JAX starts up.

    XLA's threads share one convolution badly, but the programs of several devices run side by side. Without
    `requested`: one device for training, whose numbers then do not depend on the machine; otherwise see
    `num_cpu_devices`. A number in XLA_FLAGS takes precedence.
    """
    devices.set_num_cpu_devices(requested or (1 if training else num_cpu_devices(config, devices.num_cores())))


def num_cpu_devices(config: ConfigDict, cores: int) -> int:
    """The largest number of devices for sampling and evaluation on a CPU with `cores` cores.

    It divides the batches, leaves each device at least `MIN_IMAGES_PER_CPU_DEVICE` images, and is at most
    `MAX_CPU_DEVICES`.
    """
    most = min(cores, config.eval.batch_size // MIN_IMAGES_PER_CPU_DEVICE, MAX_CPU_DEVICES)
    return next((count for count in range(most, 1, -1) if not _mismatch(config, count)), 1)


def _mismatch(config: ConfigDict, count: int) -> str:
    """Why `count` devices cannot share the batches or the state, in one sentence; empty where they can."""
    num_shards, num_parts = config.training.fsdp, config.training.grad_accumulation
    for key in ("training.batch_size", "eval.batch_size"):
        section, name = key.split(".")
        if config[section][name] % count:
            return (
                f"config.{key} = {config[section][name]} is not divisible by the number of devices, {count}; "
                f"use a multiple of {count}."
            )
    if config.training.batch_size % (num_parts * count):
        return (
            f"config.training.grad_accumulation = {num_parts} makes parts of "
            f"{config.training.batch_size // num_parts} images, which {count} devices cannot share; use "
            f"config.training.batch_size = a multiple of {num_parts * count}, or fewer parts."
        )
    if count % num_shards:
        return (
            f"config.training.fsdp = {num_shards} does not divide the number of devices, {count}; use 1, which reads "
            "any checkpoint, or a divisor."
        )
    return ""
