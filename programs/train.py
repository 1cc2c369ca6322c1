"""The program train: the order of events, what goes on after a kill, and what ends a run; no arithmetic."""

import contextlib
import logging
import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from configs import default
from core.errors import PeerError, RunError, Stopped
from core.files import write_json
from data.pipeline import train_batches
from data.prefetch import DataError, Feed
from programs.run import Run
from runtime.barrier import barrier
from runtime.lock import workdir_lock
from runtime.signals import StopRequest
from systems.diffusion import Diffusion
from training.checkpoint import CheckpointError, Checkpoints
from training.compile import Compiled, compile_all, out_of_memory
from training.log import MetricsLog, SilentLog
from training.progress import NonFiniteLossError, Progress, check, from_notes, log_line, read

AHEAD = 2  # dispatches that the devices have not ended when the next one is made
FINISHED = "finished.json"  # the marker that training has ended
# What collective operations and JAX's coordination service say where a process does not answer.
_NO_ANSWER = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "Connection closed", "Barrier failed")


class Workdir(NamedTuple):
    """Where a run keeps its checkpoints: `newest` to go on from, `kept` for good."""

    newest: Checkpoints
    kept: Checkpoints


def prepare(run: Run) -> None:
    """Opens the data and reads the guide of the snapshots' samples. Errors: ValueError, FileNotFoundError."""
    training = run.config.training
    run.splits.named("train")
    if training.eval_freq:
        run.splits.named("test")
    if training.snapshot_sampling and isinstance(run.system, Diffusion):
        run.system.guide  # noqa: B018


def train(run: Run, stop: StopRequest | None = None, allow_config_change: bool = False) -> None:
    """Trains to `training.n_iters` steps, from the newest intact checkpoint in the workdir where there is one.

    `stop`: asked once a step. `allow_config_change`: go on with another model or other data all the same.
    Errors: RunError (CheckpointError, NonFiniteLossError, ...), Stopped; what lies in the workdir stays intact.
    """
    first = jax.process_index() == 0
    with workdir_lock(run.workdir) if first else contextlib.nullcontext():
        workdir = Workdir(
            Checkpoints(run.workdir / "checkpoints-meta", keep=2, clean=True),
            Checkpoints(run.workdir / "checkpoints", clean=True),
        )
        try:
            _train(run, workdir, stop or StopRequest(), allow_config_change)
        except PeerError:
            raise  # closing would wait for the process that is gone
        except BaseException:
            _close(workdir, quietly=True)
            raise
        _close(workdir)


def _close(workdir: Workdir, quietly: bool = False) -> None:
    for store in workdir:
        try:
            store.close()
        except CheckpointError as error:
            if not quietly:
                raise
            logging.error("%s", error)


def _train(run: Run, workdir: Workdir, stop: StopRequest, allow_config_change: bool) -> None:
    """Attempts, until one reaches the end: each rollback begins another."""
    at = _resume(run, workdir, allow_config_change)
    if at.step >= run.config.training.n_iters:
        logging.info("nothing to do: step %d of %d is reached", at.step, run.config.training.n_iters)
        return
    if jax.process_index() == 0:
        (run.workdir / FINISHED).unlink(missing_ok=True)
    memory = 0
    try:
        compiled = compile_all(run, at.state)
        memory = compiled.memory_bytes
        barrier("compiled the training step")
        while (bad := _attempt(run, workdir, compiled, at, stop)) is not None:
            at = _roll_back(run, workdir, at.bad | {bad})
    except (RuntimeError, ValueError) as error:  # RunError is one
        if jax.process_count() > 1 and any(word in str(error) for word in _NO_ANSWER):
            raise _peer_is_gone(error) from error
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
            raise out_of_memory(run, memory) from error
        raise
    if jax.process_index() == 0:
        write_json(run.workdir / FINISHED, {"step": at.step})


def _attempt(run: Run, workdir: Workdir, compiled: Compiled, at: Progress, stop: StopRequest) -> int | None:
    """Trains to the end; the step, counted from 1, whose batch is to be left out where a rollback is asked for."""
    log = MetricsLog(run.workdir, at.step) if jax.process_index() == 0 else SilentLog()
    with log, _batches(run, at.step) as batches:
        try:
            _loop(run, workdir, compiled, at, stop, log, Feed(batches, run.devices.shard_batch))
        except NonFiniteLossError as error:
            if run.config.training.on_nonfinite != "rollback" or len(at.bad) >= run.config.training.max_nonfinite:
                raise
            return error.step
        except DataError:
            if jax.process_count() == 1:
                _save_newest(run, workdir, at, log)
            raise
    return None


def _loop(
    run: Run,
    workdir: Workdir,
    compiled: Compiled,
    at: Progress,
    stop: StopRequest,
    log: MetricsLog,
    batches: Feed,
) -> None:
    training = run.config.training
    began, began_step = time.perf_counter(), at.step
    while at.step < training.n_iters:
        at.state, metrics, taken = compiled.advance(at.state, batches, at.step, at.bad)
        at.step += taken
        at.pending.append((at.step, metrics))
        # Dispatching does not wait; without an end to that, batches would fill the devices and a signal come late.
        jax.block_until_ready([metrics for _, metrics in at.pending[-1 - AHEAD : -AHEAD]])
        at_line = at.step % training.log_freq == 0 or at.step == training.n_iters
        if at_line:
            means = read(run, at)
            rate = (at.step - began_step) / (time.perf_counter() - began)
            log_line(run, log, at.step, means, rate, compiled.flops)
            _at_line(run, workdir, compiled, at, log)
            began, began_step = time.perf_counter(), at.step
        if _asked_to_stop(stop, at_line) and at.step < training.n_iters:
            _save_newest(run, workdir, at, log)
            workdir.newest.wait()
            raise Stopped(
                f"stopped by {stop.signal or 'a signal to another process'} after step {at.step}, which is saved; "
                "start the same command again."
            )


def _at_line(run: Run, workdir: Workdir, compiled: Compiled, at: Progress, log: MetricsLog) -> None:
    """What happens at some of the steps at which metrics are read."""
    training, step = run.config.training, at.step
    if training.eval_freq and (step % training.eval_freq == 0 or step == training.n_iters):
        loss = compiled.test_loss(at.state, step)
        log.write(step, {"test_loss": loss}, f"step {step}  test loss {loss:.5g}")
    if _due(step, training.snapshot_freq, training.n_iters):
        number = math.ceil(step / training.snapshot_freq)
        _keep(run, workdir.kept, number, at)
        compiled.snapshot(at.state, number, step, log)
    if _due(step, training.snapshot_freq_for_preemption, training.n_iters):
        # Last, so that a kill on the way here is made good by going through all of this again.
        _save_newest(run, workdir, at, log)


def _keep(run: Run, kept: Checkpoints, number: int, at: Progress) -> None:
    """Saves snapshot `number`, in place of one of another step: the end of a run that was to be shorter."""
    try:
        stale = number in kept.numbers() and kept.notes(number).get("step", at.step) != at.step
    except CheckpointError as error:
        logging.warning("%s", error)
        stale = True
    if stale:
        kept.delete(number)
    kept.save(number, at.state, default.to_json(run.config), {"step": at.step, "data": run.spec.to_json()})


def _save_newest(run: Run, workdir: Workdir, at: Progress, log: MetricsLog) -> None:
    """Saves what to go on from, once everything that belongs to earlier steps is on disk."""
    if at.step == at.saved:
        return
    if at.pending:
        check(run, at)
    workdir.kept.wait()
    log.sync()
    workdir.newest.save(at.step, at.state, default.to_json(run.config), at.notes())
    at.saved = at.step


def _asked_to_stop(stop: StopRequest, at_line: bool) -> bool:
    """Whether a signal has come; to any of several processes, which agree on it where metrics are read."""
    if jax.process_count() == 1:
        return stop.signal is not None
    return at_line and bool(multihost_utils.process_allgather(np.asarray(stop.signal is not None)).any())


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _batches(run: Run, step: int) -> Any:
    return train_batches(
        run.train,
        seed=run.config.seed,
        batch_size=run.config.training.batch_size,
        start_step=step,
        random_flip=run.config.data.random_flip,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_threads=run.config.data.num_threads,
        num_workers=run.config.data.num_workers,
    )


# Where to go on from ----------------------------------------------------------------------------------------------


def _resume(run: Run, workdir: Workdir, allow_config_change: bool) -> Progress:
    """The newest checkpoint that is intact; a new state where there is none at all."""
    numbers = workdir.newest.numbers()
    if not numbers:
        state = run.state()
        num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        logging.info("%s parameters, %d device(s)", f"{num_params:,}", run.devices.count)
        return Progress(state, 0, 0)
    failures: dict[int, CheckpointError] = {}
    for number in reversed(numbers):
        try:
            config, notes = workdir.newest.config(number), workdir.newest.notes(number)
            changed = _compare(run, config, allow_config_change)
            state = workdir.newest.restore(number, run.abstract_state())
        except CheckpointError as error:
            failures[number] = error
            continue
        for damaged, failure in failures.items():
            logging.warning("%s", failure)
            logging.warning("going on from checkpoint %d instead; %d is set aside", number, damaged)
            if jax.process_index() == 0:
                workdir.newest.set_aside(damaged)
        barrier(f"set aside before {number}")
        for key, (old, new) in changed.items():
            logging.warning("config.%s was %s and is now %s", key, old, new)
        logging.info("resuming from step %d", number)
        return from_notes(state, number, notes)
    raise failures[numbers[-1]]


def _compare(run: Run, stored: dict[str, Any], allow: bool) -> dict[str, tuple[Any, Any]]:
    """What of the config has changed since. Errors: RunError where that would be another model or other data."""
    changed = default.differences(default.complete(stored), default.to_json(run.config))
    refused = {key: values for key, values in changed.items() if default.is_fixed(key)}
    if refused and not allow:
        listed = "; ".join(f"{key}: was {old}, is {new}" for key, (old, new) in refused.items())
        raise ConfigChangeError(
            f"The run in {run.workdir} was started with another model or other data ({listed}); "
            "give it the old values, another --workdir, or --allow_config_change."
        )
    return changed


class ConfigChangeError(RunError):
    """The config says another model or other data than the checkpoint has."""


def _roll_back(run: Run, workdir: Workdir, bad: set[int]) -> Progress:
    """The newest checkpoint, or the start; `bad` steps are to be passed over.

    Whatever was written since belongs to steps before the bad one, and is written again, the same.
    """
    at = _resume(run, workdir, allow_config_change=True)
    at.bad |= bad
    logging.warning("rolled back to step %d; the batch of step %d is left out", at.step, max(bad))
    return at


def _peer_is_gone(error: Exception) -> PeerError:
    reason = (str(error).strip().splitlines() or ["no answer"])[0]
    return PeerError(
        f"Another process of this run is gone, or cannot be reached ({reason}); "
        "start all of them again: the run goes on from its newest checkpoint."
    )
