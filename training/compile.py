"""What a training run compiles: its steps, the loss of a test batch, and the samples at a snapshot."""

import dataclasses
import logging
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from core.arrays import Array
from core.errors import RunError
from core.files import write_json
from core.keys import example_keys, fold_in
from core.progress import phase
from data.pipeline import eval_batch, num_rounds
from data.prefetch import READ_ERRORS, Prefetcher, unreadable
from data.source import Source
from reports.sheets import write_gif, write_png
from runtime.barrier import barrier
from runtime.devices import Devices
from runtime.memory import Memory, step_memory
from training.log import MetricsLog
from training.objectives.base import (
    UNWEIGHTED,
    Batch,
    Objective,
    Variables,
    Weight,
    by_term,
    check_terms,
    weighted,
)
from training.settings import TrainSettings
from training.state import TrainState
from training.step import NOTHING, TrainStep, fuse, skip_batch

# (state, batches, step, bad steps counted from 1, whose batch is left out) -> (state, metrics, number of steps taken)
Advance = Callable[[TrainState, Prefetcher, int, set[int]], tuple[TrainState, dict[str, Any], int]]
# (state, step) -> mean losses of a test batch
TestLoss = Callable[[TrainState, int], dict[str, float]]
Snapshot = Callable[[TrainState, int, int, MetricsLog], None]  # (state, number, step, log)


@dataclasses.dataclass(frozen=True)
class Steps:
    """The compiled training steps, and what one of them costs."""

    advance: Advance
    flops: float  # floating-point operations of a step
    memory_bytes: int  # that training needs, of each device or of the process; 0: unknown


def compile_steps(
    train_step: TrainStep,
    state: TrainState,
    batch: dict[str, np.ndarray],
    settings: TrainSettings,
    devices: Devices,
    frozen: Variables = NOTHING,
    num_programs: int = 1,
) -> Steps:
    """Compiles a training step for a state (which may be abstract) and this process's rows of a batch.

    `frozen`: further variables for the loss, which are not trained. `num_programs`: the devices, where each has a
    program of its own, see `training.exchange`; operations are counted in one. `n_jitted_steps` steps are one dispatch,
    except near a line of metrics, the last step or a bad step. The state is donated and returns with the shardings that
    it came with.
    """
    began = time.perf_counter()
    shardings = devices.state_shardings(state)
    with phase("compiling the training step"):
        lowered = lower_step(train_step, state, devices.shard_batch(batch), devices, frozen)
        flops = float((lowered.cost_analysis() or {}).get("flops", math.nan)) * num_programs
        single = lowered.compile()
    logging.info("compiled the training step in %.1f s", time.perf_counter() - began)
    memory = step_memory(single, jax.local_devices()[0])
    _check_memory(memory, jax.local_devices()[0], settings)
    several = jax.jit(fuse(train_step), donate_argnums=0, out_shardings=(shardings, None))
    skip = jax.jit(skip_batch, donate_argnums=0, out_shardings=shardings)

    def steps_at(step: int, bad: set[int]) -> int:
        """The number of steps of the dispatch after `step`."""
        num = settings.n_jitted_steps
        left = min(settings.log_freq - step % settings.log_freq, settings.n_iters - step)
        return num if left >= num and not bad.intersection(range(step + 1, step + 1 + num)) else 1

    def advance(
        state: TrainState, batches: Prefetcher, step: int, bad: set[int]
    ) -> tuple[TrainState, dict[str, Any], int]:
        taken = steps_at(step, bad)
        batch = batches.take(step, taken)
        if step + 1 in bad:
            return skip(state), {"skipped": np.float32(1)}, 1
        state, metrics = single(state, batch, frozen) if taken == 1 else several(state, batch, frozen)
        if step + taken < settings.n_iters:
            batches.prefetch(step + taken, steps_at(step + taken, bad))
        return state, metrics, taken

    return Steps(advance, flops, memory.needed)


def lower_step(
    train_step: TrainStep, state: TrainState, batch: Batch, devices: Devices, frozen: Variables = NOTHING
) -> jax.stages.Lowered:
    """The training step for a state, which is donated, and a batch, before it is compiled; each may be abstract."""
    jitted = jax.jit(train_step, donate_argnums=0, out_shardings=(devices.state_shardings(state), None))
    return jitted.lower(state, batch, frozen)


def _check_memory(memory: Memory, device: jax.Device, settings: TrainSettings) -> None:
    """Logs the memory of training. Errors: RunError where a CPU has less, because the system would kill the process."""
    whose = "this process" if device.platform == "cpu" else "each device"
    logging.info("training needs about %.0f MiB of %s", memory.needed / 2**20, whose)
    if not memory.limit or memory.needed <= memory.limit:
        return
    problem = (
        f"Training with config.training.batch_size = {settings.batch_size} needs about {memory.needed / 2**20:.0f} MiB "
        f"of {whose}, but {memory.limit / 2**20:.0f} MiB are available: lower config.training.batch_size or "
        "config.model.nf, raise config.training.grad_accumulation, set config.model.remat"
    )
    if device.platform == "cpu":
        raise RunError(f"{problem}, and start again.")
    logging.warning("%s, or use more devices with config.training.fsdp", problem)


def make_test_loss(
    objective: Objective,
    source: Source,
    key: Array,
    settings: TrainSettings,
    devices: Devices,
    weights: Mapping[str, Weight] = UNWEIGHTED,
    frozen: Variables = NOTHING,
) -> TestLoss:
    """`test_loss(state, step)`: the loss of the averaged parameters on a batch of `source` that `step` determines.

    `test_loss`, and where it has several terms `test_loss/<name>`. Without dropout. Example i of the batch uses
    `fold_in(fold_in(key, step), i)`. Compiled when it is first called.
    """

    def sums(variables: Variables, keys: Array, batch: dict[str, Array], step: Array) -> dict[str, Array]:
        terms = objective(variables, keys, batch, None, step)
        check_terms(terms, variables, len(keys))
        losses = by_term(weighted(terms.losses, weights, step), terms.losses, "test_loss")
        return {name: (loss * batch["counted"]).sum() for name, loss in losses.items()}

    compiled = CompiledTogether(jax.jit(sums, out_shardings=devices.replicated), "the test loss")

    def test_loss(state: TrainState, step: int) -> dict[str, float]:
        turn = step // settings.eval_freq % num_rounds(source.num_examples, settings.batch_size)
        try:
            batch = eval_batch(source, turn, settings.batch_size)
        except READ_ERRORS as error:
            raise unreadable(f"test data of step {step}", error) from error
        keys = example_keys(fold_in(key, step), settings.batch_size)
        variables = {**state.averaged_variables, **frozen}
        totals = compiled(variables, keys, devices.shard_batch(_rows_of_process(batch)), np.int32(step))
        return {name: float(total) / float(batch["counted"].sum()) for name, total in totals.items()}

    return test_loss


def make_snapshot(
    sample: Callable[[Any, int], dict[str, Array]],
    grid_of: Callable[[np.ndarray], np.ndarray],
    directory: pathlib.Path,
    sampler: str = "",
) -> Snapshot:
    """Writes a grid of samples of the averaged parameters; all processes compute them, the first one writes.

    `sample(variables, number of the snapshot)`: "samples" [N, ...], "num_evals" and perhaps "states" [N, K, ...], which
    become a GIF. `grid_of(samples)`: uint8 [H, W, C]. `sampler`: what it is, in words, for the record beside the grid.
    """

    def snapshot(state: TrainState, number: int, step: int, log: MetricsLog) -> None:
        began = time.perf_counter()
        with phase(f"sampling for snapshot {number}"):
            found = _fetch(sample(state.averaged_variables, number))
        if jax.process_index() != 0:
            return
        grid, path = grid_of(found["samples"]), directory / f"snapshot_{number}.png"
        write_png(path, grid)
        if "states" in found:
            states = found["states"]
            write_gif(path.with_suffix(".gif"), [grid_of(states[:, k]) for k in range(states.shape[1])])
        log.image(step, "samples", grid)
        num, evaluations, seconds = len(found["samples"]), int(found["num_evals"]), time.perf_counter() - began
        record = {"step": step, "num_samples": num, "sampler": sampler, "num_evals": evaluations}
        write_json(path.with_suffix(".json"), record)
        by = f" by {sampler}" if sampler else ""
        logging.info("%d samples%s, with %d evaluations in %.1f s -> %s", num, by, evaluations, seconds, path)

    return snapshot


class CompiledTogether:
    """A jitted function that all processes compile on its first call, before any of them runs it."""

    def __init__(self, function: Any, name: str):
        self._function, self._name = function, name
        self._compiled: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """The function's value."""
        if self._compiled is None:
            with phase(f"compiling {self._name}"):
                self._compiled = self._function.lower(*arguments).compile()
            barrier(f"compiled {self._name}")
        return self._compiled(*arguments)


def _rows_of_process(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """This process's rows of a batch."""
    size = len(batch["counted"]) // jax.process_count()
    rows = slice(jax.process_index() * size, (jax.process_index() + 1) * size)
    return {name: value[rows] for name, value in batch.items()}


def _fetch(arrays: dict[str, Array]) -> dict[str, np.ndarray]:
    """Arrays on the host, gathered from all processes."""
    if jax.process_count() == 1:
        return jax.device_get(arrays)
    jax.block_until_ready(arrays)
    barrier("computed samples")
    return multihost_utils.process_allgather(arrays, tiled=True)
