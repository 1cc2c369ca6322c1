"""What a training run compiles: its steps, the loss of a test batch, the grid of samples at a snapshot."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from builders.optimizer import make_averages, make_ema
from core.errors import RunError
from core.keys import RunKey, example_keys, fold_in
from data.pipeline import eval_batch, num_rounds
from data.prefetch import Feed
from programs.run import Run
from reports.sheets import sample_grid, write_gif, write_png
from runtime.barrier import barrier
from runtime.memory import limit_bytes, needed_bytes
from training.log import MetricsLog
from training.objectives.score_matching import make_loss_fn
from training.state import TrainState, fuse, make_train_step, pass_over

# (state, batches, step, steps whose batch is left out, counted from 1) -> (state, metrics, steps taken)
Advance = Callable[[TrainState, Feed, int, set[int]], tuple[TrainState, dict[str, Any], int]]


class Compiled(NamedTuple):
    """`advance`; `test_loss(state, step)`; `snapshot(state, number, step, log)`; the cost of a step."""

    advance: Advance
    test_loss: Callable[[TrainState, int], float]
    snapshot: Callable[[TrainState, int, int, MetricsLog], None]
    flops: float  # floating-point operations of a step
    memory_bytes: int  # of each device, for a step; 0: not known


def compile_all(run: Run, state: TrainState) -> Compiled:
    """Compiles the training step; the rest is compiled when it is first called. `state` may be abstract."""
    advance, flops, memory = _compile_steps(run, state)
    return Compiled(advance, _compile_test_loss(run), _make_snapshot(run), flops, memory)


def _compile_steps(run: Run, state: TrainState) -> tuple[Advance, float, int]:
    """`training.n_jitted_steps` steps are one dispatch, except on a CPU and except for what is left at the end.

    The state is donated, and comes back divided over the devices as it went in.
    """
    training = run.config.training
    train_step = make_train_step(
        make_loss_fn(run.system.objective),
        run.tx,
        make_ema(run.config),
        run.schedule,
        jax.random.fold_in(run.key, RunKey.TRAIN),
        averages=make_averages(run.config),
        skip_nonfinite=training.on_nonfinite == "skip",
        num_parts=training.grad_accumulation,
    )
    local = training.batch_size // jax.process_count()
    example = {"x": np.zeros((local, *run.spec.shape), run.spec.dtype), "label": np.zeros((local,), np.int32)}
    began = time.perf_counter()
    shardings = run.devices.state_shardings(state)
    lowered = jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, None)).lower(
        state, run.devices.shard_batch(example)
    )
    flops = float((lowered.cost_analysis() or {}).get("flops", math.nan))
    single = lowered.compile()
    logging.info("compiled the training step in %.1f s", time.perf_counter() - began)
    memory = needed_bytes(single)
    _tell_memory(memory, jax.local_devices()[0])
    num = _steps_per_dispatch(training.n_jitted_steps)
    several = jax.jit(fuse(train_step), donate_argnums=0, out_shardings=(shardings, None))
    leave_out = jax.jit(pass_over, donate_argnums=0, out_shardings=shardings)

    def steps_at(step: int, bad: set[int]) -> int:
        """How many steps the dispatch after `step` has: 1 where a line of metrics, the end or a bad step is near."""
        near = min(training.log_freq - step % training.log_freq, training.n_iters - step)
        return num if near >= num and not bad.intersection(range(step + 1, step + 1 + num)) else 1

    def advance(state: TrainState, batches: Feed, step: int, bad: set[int]) -> tuple[TrainState, Any, int]:
        taken = steps_at(step, bad)
        batch = batches.take(step, taken)
        if step + 1 in bad:
            return leave_out(state), {"skipped": np.float32(1)}, 1
        state, metrics = single(state, batch) if taken == 1 else several(state, batch)
        if step + taken < training.n_iters:
            batches.ahead(step + taken, steps_at(step + taken, bad))
        return state, metrics, taken

    return advance, flops, memory


def _steps_per_dispatch(asked: int) -> int:
    return asked if jax.default_backend() != "cpu" else 1


def _tell_memory(needed: int, device: jax.Device) -> None:
    """Logs the estimate; a warning where the device has less."""
    there = limit_bytes(device)
    logging.info("a training step needs about %.0f MiB of each device", needed / 2**20)
    if there and needed > there:
        logging.warning(
            "that is more than the %.0f MiB that %s has: set config.model.remat, raise "
            "config.training.grad_accumulation, lower config.training.batch_size or config.model.nf, or use more "
            "devices with config.training.fsdp",
            there / 2**20,
            device,
        )


def out_of_memory(run: Run, needed: int) -> RunError:
    """The error for a device that ran out of memory."""
    return RunError(
        f"The device ran out of memory (a training step of {run.config.training.batch_size} images on "
        f"{run.devices.count} device(s) needs about {needed / 2**20:.0f} MiB of each); "
        "set config.model.remat, raise config.training.grad_accumulation, lower config.training.batch_size, "
        "config.training.snapshot_num_samples or config.model.nf, or use more devices, and start again."
    )


def _compile_test_loss(run: Run) -> Callable[[TrainState, int], float]:
    """`loss(state, step)`: of the averaged parameters on a test batch that depends on the step alone."""
    size = run.config.training.batch_size
    mean = _Together(
        jax.jit(
            lambda params, keys, batch: (run.system.objective(params, keys, batch, None) * batch["mask"]).sum(),
            out_shardings=run.devices.replicated,
        ),
        "compiled the test loss",
    )

    def loss(state: TrainState, step: int) -> float:
        turn = step // run.config.training.eval_freq % num_rounds(run.test.num_examples, size)
        batch = eval_batch(run.test, turn, size)
        key = fold_in(fold_in(run.key, RunKey.TEST_LOSS), step)
        total = mean(state.ema_params, example_keys(key, size), run.devices.shard_batch(_share(batch)))
        return float(total) / float(batch["mask"].sum())

    return loss


class _Together:
    """A function that all processes compile, when it is first called, before any of them runs it."""

    def __init__(self, function: Any, name: str):
        self._function, self._name = function, name
        self._compiled: Any = None

    def __call__(self, *arguments: Any) -> Any:
        if self._compiled is None:
            self._compiled = self._function.lower(*arguments).compile()
            barrier(self._name)
        return self._compiled(*arguments)


def _share(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows of this process."""
    size = len(batch["mask"]) // jax.process_count()
    rows = slice(jax.process_index() * size, (jax.process_index() + 1) * size)
    return {name: value[rows] for name, value in batch.items()}


def _make_snapshot(run: Run) -> Callable[[TrainState, int, int, MetricsLog], None]:
    """A grid of samples of the averaged parameters; drawn by all processes, written by the first."""
    num = run.config.training.snapshot_num_samples
    generate = run.system.generate

    def snapshot(state: TrainState, number: int, step: int, log: MetricsLog) -> None:
        if generate is None or not run.config.training.snapshot_sampling:
            return
        began = time.perf_counter()
        drawn = _fetch(
            generate(
                run.devices.replicate_params(state.ema_params),
                run.system.sample_keys(number, 0, num),
                run.system.labels(0, num),
            )
        )
        if jax.process_index() != 0:
            return
        picture = sample_grid(drawn["samples"], run.spec.num_levels)
        path = run.workdir / "samples" / f"snapshot_{number}.png"
        write_png(path, picture)
        if "states" in drawn:
            write_gif(
                path.with_suffix(".gif"),
                [sample_grid(states, run.spec.num_levels) for states in np.moveaxis(drawn["states"], 1, 0)],
            )
        log.image(step, "samples", picture)
        seconds = time.perf_counter() - began
        logging.info("%d samples with %d evaluations in %.1f s -> %s", num, drawn["num_evals"], seconds, path)

    return snapshot


def _fetch(drawn: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays on the host; of all processes where there are several."""
    if jax.process_count() == 1:
        return jax.device_get(drawn)
    jax.block_until_ready(drawn)
    barrier("samples drawn")
    return multihost_utils.process_allgather(drawn, tiled=True)
