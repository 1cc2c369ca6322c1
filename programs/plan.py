"""The program plan: what a config costs on devices that are not here, compiled ahead of time from shapes alone.

No data are read that the config describes, and no weights. `--fit` searches for the largest batch that the compiler
accepts, and where a program does not fit into a device, it tries what helps.
"""

import copy
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from builders.shape import data_shape
from builders.splits import spec_without_data
from configs.keys import set_value
from core.arrays import Array
from core.errors import RunError
from core.keys import example_keys
from core.progress import phase
from core.tables import nearest
from core.target import compiling_for
from data.fields import Field, labeled
from data.spec import DataSpec
from programs.run import DataRun, Run
from programs.train import make_step, settings_of
from reports import plans
from runtime import topology
from runtime.compile_effort import compile_effort, effort_for
from runtime.cost import Cost, compiled_cost
from runtime.topology import Topology
from systems.diffusion import Diffusion
from training.compile import lower_step
from training.frozen import FROZEN

WORKDIR = "/nonexistent"  # of a plan: no file is read or written
ACCURACY = 16  # a batch is found to this part of it, 1/16
ACCUMULATION = (2, 4, 8)


class Shapes(NamedTuple):
    """A run on devices that are not here, and its arrays as shapes, types and shardings."""

    run: Run
    state: Any
    frozen: Any

    def batch(self, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch, sharded over the devices."""
        where = self.run.devices.batch_sharding
        return {
            name: jax.ShapeDtypeStruct((size, *field.shape), field.dtype, sharding=where)
            for name, field in self.run.spec.fields.items()
        }

    def keys(self, size: int) -> jax.ShapeDtypeStruct:
        """A key for each example."""
        found = jax.eval_shape(lambda: example_keys(jax.random.key(0), size))
        return jax.ShapeDtypeStruct(found.shape, found.dtype, sharding=self.run.devices.batch_sharding)

    @property
    def variables(self) -> Any:
        """The averaged variables, as they are restored for evaluation: on every device."""
        return {**self._replicated(self.state.averaged_variables), **self.frozen}

    def _replicated(self, tree: Any) -> Any:
        where = self.run.devices.replicated
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), tree)


def lower_training(shapes: Shapes) -> jax.stages.Lowered:
    """A training step."""
    run = shapes.run
    settings = settings_of(run.config.training)
    batch = shapes.batch(settings.batch_size)
    return lower_step(make_step(run, settings), shapes.state, batch, run.devices, shapes.frozen)


def lower_sampling(shapes: Shapes) -> jax.stages.Lowered:
    """A batch of samples, as an evaluation generates it. Errors: ValueError for a system without samples."""
    run, generate = shapes.run, shapes.run.system.generate
    if generate is None:
        raise ValueError(
            f"--programs=sample: config.system = {run.config.system!r} generates no samples; leave it out."
        )
    size = run.devices.round_up(min(run.config.eval.batch_size, run.config.eval.num_samples))
    asked = run.system.labels(0, size)
    return jax.jit(lambda variables, keys: generate(variables, keys, asked)).lower(shapes.variables, shapes.keys(size))


def lower_likelihood(shapes: Shapes) -> jax.stages.Lowered:
    """The bits per dimension of a batch. Errors: ValueError for a system that does not measure them."""
    run, system = shapes.run, shapes.run.system
    if not isinstance(system, Diffusion):
        raise ValueError(
            f"--programs=likelihood: config.system = {run.config.system!r} has no such program; leave it out."
        )
    size = run.config.eval.batch_size

    def measure(variables: Any, keys: Array, batch: Any) -> Any:
        return system.bits_per_dim(variables["params"], keys, batch, None)

    return jax.jit(measure).lower(shapes.variables, shapes.keys(size), shapes.batch(size))


LOWER: dict[str, Callable[[Shapes], jax.stages.Lowered]] = {
    "train": lower_training,
    "sample": lower_sampling,
    "likelihood": lower_likelihood,
}


def shapes_of(config: ConfigDict, devices: Topology, spec: DataSpec) -> Shapes:
    """The run of a config on these devices. Errors: ValueError, as training would end with."""
    run = Run(copy.deepcopy(config), WORKDIR, devices.devices, spec)
    frozen = {name: part.variables for name, part in run.system.frozen.items()}
    where = run.devices.replicated
    abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), frozen)
    return Shapes(run, run.abstract_state(), {FROZEN: abstract} if abstract else {})


def lowered(shapes: Shapes, devices: Topology, program: str = "train") -> jax.stages.Lowered:
    """A program of `LOWER` for these devices, before it is compiled. Errors: ValueError."""
    with compiling_for(devices.platform):
        return LOWER[program](shapes)


def cost_of(shapes: Shapes, devices: Topology, program: str = "train") -> Cost:
    """What a program of `LOWER` costs. Errors: ValueError."""
    asked = shapes.run.config.training.compile_effort if program == "train" else 0.0
    effort = effort_for(devices.platform, asked)
    with phase(f"compiling {program} for {devices.name}"), compile_effort(effort):
        return compiled_cost(lowered(shapes, devices, program), devices)[0]


def plan(shapes: Shapes, devices: Topology, programs: Sequence[str] = ("train",), fit: bool = False) -> dict[str, Any]:
    """The plan as JSON: the devices, the state, the cost of each program, and with `fit` what was found beside them.

    Errors: ValueError, as training would end with.
    """
    run = shapes.run
    config, training = run.config, run.config.training
    costs = {name: cost_of(shapes, devices, name) for name in programs}
    fits = all(cost.fits for cost in costs.values())
    found: dict[str, Any] = {}
    if fit and not fits:
        found["tried"] = tried(config, devices, run.spec)
    if fit:
        known = {training.batch_size: costs["train"]} if "train" in costs else {}
        found["largest_batch"] = largest(shapes, devices, known)
    return {
        "topology": devices.name,
        "devices": len(devices.devices),
        "device": devices.chip.name,
        "memory": devices.chip.memory,
        "batch_size": training.batch_size,
        "fsdp": training.fsdp,
        "grad_accumulation": training.grad_accumulation,
        "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(shapes.state.params)),
        "state_bytes": run.devices.bytes_per_device(shapes.state),
        "fits": fits,
        "programs": {name: cost.to_json() for name, cost in costs.items()},
        **found,
    }


def spec_of(config: ConfigDict) -> DataSpec:
    """The fields of the data, from the config where it says enough; data that are not here are uint8."""
    if (known := spec_without_data(config)) is not None:
        return known
    try:
        return DataRun(copy.deepcopy(config), WORKDIR).spec
    except (OSError, ValueError) as error:
        logging.warning("the data cannot be read (%s); the plan is for uint8 of the shape that config.data says", error)
        return DataSpec(labeled(Field(data_shape(config), "uint8", 256), config.model.num_labels))


def changes(config: ConfigDict, count: int) -> list[dict[str, Any]]:
    """What may make a training step fit: settings that do not change its result."""
    found: list[dict[str, Any]] = [] if config.model.remat else [{"model.remat": True}]
    if config.training.fsdp < count:
        found.append({"training.fsdp": count})
    parts = config.training.grad_accumulation
    return found + [{"training.grad_accumulation": parts * factor} for factor in ACCUMULATION]


def tried(config: ConfigDict, devices: Topology, spec: DataSpec) -> list[dict[str, Any]]:
    """The memory of a training step with each of `changes`; those that a config cannot have are left out."""
    found = []
    for change in changes(config, len(devices.devices)):
        try:
            cost = cost_of(shapes_of(changed(config, change), devices, spec), devices)
        except ValueError as error:
            logging.info("%s", error)
            continue
        found.append({"change": change, "needed": cost.needed, "fits": cost.fits})
    return found


def largest(shapes: Shapes, devices: Topology, known: Mapping[int, Cost]) -> int:
    """The largest `training.batch_size` that the compiler accepts, to 1/16; 0: none. known: costs by batch size."""
    run, config = shapes.run, shapes.run.config

    def measure(size: int) -> tuple[bool, float]:
        of_size = changed(config, {"training.batch_size": size})
        cost = known.get(size) or cost_of(shapes_of(of_size, devices, run.spec), devices)
        logging.info("batch size %d: %.0f MiB, %s", size, cost.needed / 2**20, "fits" if cost.fits else "does not fit")
        return cost.fits, cost.needed / cost.memory

    unit = len(devices.devices) * config.training.grad_accumulation
    state = run.devices.bytes_per_device(shapes.state) / devices.chip.memory
    return largest_fitting(config.training.batch_size, unit, measure, state)


def largest_fitting(start: int, unit: int, measure: Callable[[int], tuple[bool, float]], empty: float = 0.0) -> int:
    """The largest multiple of `unit` that fits, to 1/16, in few calls of `measure`, which take minutes each.

    measure: of a batch size, whether it fits, and the share of the memory that it needs, which is `empty` for none. The
    next is where the line through the last two shares reaches 1. Where that leads no further, there are steps of 1/16,
    each twice the one before, and then the middle between the largest that fits and the smallest that does not.
    """
    low, high, size, stride, last = 0, math.inf, max(start // unit, 1), 1, (0, empty)
    while high - low > max(1, low // ACCURACY):
        fits, share = measure(size * unit)
        low, high = (size, high) if fits else (low, size)
        slope, last = (share - last[1]) / (size - last[0]), (size, share)
        guess = size + int((1 - share) / slope) if slope > 0 else size
        if (guess > size) != fits or guess == size or abs(guess - size) < size // ACCURACY:
            stride, step = 2 * stride, max(1, size // ACCURACY) * stride
            guess = size + (step if fits else -step)
        size = guess if low < guess < high else int(low + high) // 2
    return low * unit


def changed(config: ConfigDict, change: Mapping[str, Any]) -> ConfigDict:
    """A copy of the config with other settings."""
    config = copy.deepcopy(config)
    for key, value in change.items():
        set_value(config, key, value)
    return config


def advice(record: Mapping[str, Any]) -> str:
    """Why a plan does not fit and what to change, in one sentence."""
    worst = max(record["programs"].items(), key=lambda item: item[1]["needed"] * (not item[1]["fits"]))
    fitting = [
        " and ".join(f"config.{key} = {value}" for key, value in each["change"].items())
        for each in record.get("tried", ())
        if each["fits"]
    ]
    if record.get("largest_batch"):
        fitting.append(f"config.training.batch_size = {record['largest_batch']}")
    what = (
        f"{' or '.join(fitting)} fits"
        if fitting
        else "none of what --fit tries fits, so use more devices, or a smaller config.model.nf"
        if "tried" in record
        else "set config.model.remat, raise config.training.grad_accumulation or config.training.fsdp, or lower the "
        "batch size; --fit tries them"
    )
    return (
        f"--mode=plan: the program {worst[0]} needs {worst[1]['needed'] / 2**30:.1f} GiB of each {record['device']} of "
        f"{record['topology']}, which has {worst[1]['memory'] / 2**30:.1f} GiB; {what}."
    )


def command(given: Any) -> Callable[[], None]:
    """--mode=plan. Errors: ValueError for the config, the devices, or a compiler that is missing; RunError."""
    if not given.topology:
        raise ValueError(f"--mode=plan needs --topology=DEVICES, such as {topology.EXAMPLES}.")
    for name in given.programs:
        if name not in LOWER:
            raise ValueError(
                f"--programs={name} is not known; choose from {', '.join(LOWER)} (nearest: {nearest(name, LOWER)})."
            )
    topology.leave_devices()
    devices = topology.find(given.topology)
    shapes = shapes_of(given.config, devices, spec_of(given.config))

    def run() -> None:
        record = plan(shapes, devices, given.programs, given.fit)
        print(plans.as_text(record))
        print(json.dumps(record))
        if not record["fits"]:
            raise RunError(advice(record))

    return run
