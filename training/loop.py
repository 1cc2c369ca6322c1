"""The training loop: steps, lines of metrics, checkpoints, and rollbacks after a loss that is not finite."""

import contextlib
import dataclasses
import logging
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from core.errors import PeerError, Stopped
from core.progress import Phase, phase
from data.pipeline import Batches
from data.prefetch import DataError, Prefetcher, ShardBatch
from runtime.memory import max_in_flight
from runtime.signals import StopRequest
from training.checkpoint import CheckpointError, Checkpoints
from training.compile import Snapshot, Steps, TestLoss
from training.log import MetricsLog, SilentLog
from training.profile import Profile
from training.progress import ExamplesOf, NonFiniteLossError, Progress, check_finite, log_metrics, read_metrics
from training.settings import TrainSettings
from training.tracking import Tracking


class Workdir(NamedTuple):
    """The folder of a run and its checkpoints: `newest` to resume from, `kept` for good."""

    path: pathlib.Path
    newest: Checkpoints
    kept: Checkpoints


@contextlib.contextmanager
def open_workdir(path: pathlib.Path) -> Iterator[Workdir]:
    """The checkpoints of a run; on leaving, waits until all of them are on disk. Errors: CheckpointError."""
    workdir = Workdir(
        path, Checkpoints(path / "checkpoints-meta", keep=2, clean=True), Checkpoints(path / "checkpoints", clean=True)
    )
    stores = (workdir.newest, workdir.kept)
    try:
        yield workdir
    except PeerError:
        raise  # closing would wait for the process that is gone
    except BaseException:
        for store in stores:
            try:
                store.close()
            except CheckpointError as error:  # the error that ended the run is the one to report
                logging.error("%s", error)
        raise
    for store in stores:
        store.close()


class TrainingData(NamedTuple):
    """The training data split, as batches."""

    open: Callable[[int], Batches]  # the batches from step 0, 1, ... on
    shard: ShardBatch
    examples_of: ExamplesOf


@dataclasses.dataclass
class Trainer:
    """Takes a run from `progress` to its last step."""

    settings: TrainSettings
    config: dict[str, Any]  # as JSON; every checkpoint stores it
    notes: dict[str, Any]  # as JSON; every checkpoint stores them
    workdir: Workdir
    data: TrainingData
    steps: Steps
    test_loss: TestLoss | None
    snapshot: Snapshot | None
    resume: Callable[[], Progress]  # the progress to roll back to
    stop: StopRequest
    progress: Progress
    check_workdir: Callable[[], None] = lambda: None  # raises where another run may have taken its place
    log: MetricsLog = dataclasses.field(default_factory=SilentLog)
    tracking: Tracking | None = None  # of the first process

    def __post_init__(self) -> None:
        self.profile = Profile(self.workdir.path, self.settings.profile_steps)

    def train(self) -> None:
        """Trains to step `n_iters`. Errors: NonFiniteLossError, DataError, CheckpointError, Stopped."""
        try:
            while (bad := self._attempt()) is not None:
                self._roll_back(bad)
        finally:
            self.profile.close()
            if self.tracking is not None:
                self.tracking.close()

    def _attempt(self) -> int | None:
        """Trains to the end, or to a step, counted from 1, whose batch is to be left out after a rollback."""
        progress, settings = self.progress, self.settings
        self.log = (
            MetricsLog(self.workdir.path, progress.step, self.tracking) if jax.process_index() == 0 else SilentLog()
        )
        with (
            self.log,
            self.data.open(progress.step) as batches,
            phase("training", settings.n_iters, "step", progress.step) as shown,
        ):
            try:
                self._loop(Prefetcher(batches, self.data.shard), shown)
            except NonFiniteLossError as error:
                if settings.on_nonfinite != "rollback" or len(progress.bad) >= settings.max_nonfinite:
                    raise
                return error.step
            except DataError:
                if jax.process_count() == 1:
                    self._save_newest()
                raise
        return None

    def _roll_back(self, bad: int) -> None:
        """Returns to the newest checkpoint, or to the start; the batch of step `bad` will be left out.

        Metrics and snapshots since then belong to steps before the bad one and are written again, unchanged.
        """
        bad_steps = self.progress.bad | {bad}
        self.progress = self.resume()
        self.progress.bad |= bad_steps
        logging.warning("rolled back to step %d; the batch of step %d is left out", self.progress.step, max(bad_steps))

    def _loop(self, batches: Prefetcher, shown: Phase) -> None:
        progress, settings = self.progress, self.settings
        began, began_step = time.perf_counter(), progress.step
        in_flight = max_in_flight(jax.local_devices()[0])
        while progress.step < settings.n_iters:
            self.profile.before(progress.step)
            progress.state, metrics, taken = self.steps.advance(progress.state, batches, progress.step, progress.bad)
            progress.step += taken
            shown.advance(taken)
            self.profile.after(progress.step, metrics)
            progress.pending.append((progress.step, metrics))
            # Dispatching does not wait. Without a limit, batches would fill the devices, and a signal be noticed late.
            jax.block_until_ready([metrics for _, metrics in progress.pending[-in_flight:][:1]])
            progress.fetch_old()
            at_line = progress.step % settings.log_freq == 0 or progress.step == settings.n_iters
            if at_line:
                self.check_workdir()
                means = read_metrics(progress, settings, self.data.examples_of)
                rate = (progress.step - began_step) / (time.perf_counter() - began)
                log_metrics(self.log, settings, progress.step, means, rate, self.steps.flops, shown.seconds_left)
                self._after_line()
                began, began_step = time.perf_counter(), progress.step
            if self._stop_requested(at_line) and progress.step < settings.n_iters:
                self._save_newest()
                self.workdir.newest.wait()
                raise Stopped(
                    f"stopped by {self.stop.signal or 'a signal to another process'} after step {progress.step}, which "
                    "is saved; start the same command again."
                )

    def _after_line(self) -> None:
        """The test loss, the snapshot and the checkpoint that are due at a line of metrics."""
        progress, settings = self.progress, self.settings
        step, is_last = progress.step, progress.step == settings.n_iters
        if self.test_loss is not None and (step % settings.eval_freq == 0 or is_last):
            losses = self.test_loss(progress.state, step)
            self.log.write(step, losses, f"step {step}  test loss of one batch {losses['test_loss']:.5g}")
        if step % settings.snapshot_freq == 0 or is_last:
            number = math.ceil(step / settings.snapshot_freq)
            self._save_kept(number)
            if self.snapshot is not None:
                self.snapshot(progress.state, number, step, self.log)
        if step % settings.snapshot_freq_for_preemption == 0 or is_last:
            self._save_newest()  # last, so that a run killed before this point repeats all of the above

    def _save_kept(self, number: int) -> None:
        """Saves checkpoint `number`, replacing one of another step: the end of a run that was meant to be shorter."""
        kept, progress = self.workdir.kept, self.progress
        try:
            stale = number in kept.numbers() and kept.notes(number).get("step", progress.step) != progress.step
        except CheckpointError as error:
            logging.warning("%s", error)
            stale = True
        if stale:
            kept.delete(number)
        kept.save(number, progress.state, self.config, {"step": progress.step, **self.notes})

    def _save_newest(self) -> None:
        """Saves the checkpoint to resume from, once everything that belongs to earlier steps is on disk."""
        progress = self.progress
        if progress.step == progress.saved:
            return
        if progress.pending:
            check_finite(progress, self.settings, self.data.examples_of)
        self.check_workdir()
        self.workdir.kept.wait()
        self.log.sync()
        self.workdir.newest.save(progress.step, progress.state, self.config, {**progress.notes(), **self.notes})
        progress.saved = progress.step

    def _stop_requested(self, at_line: bool) -> bool:
        """Whether this process got a signal; several processes exchange the answer at lines of metrics."""
        if jax.process_count() == 1:
            return self.stop.signal is not None
        return at_line and bool(multihost_utils.process_allgather(np.asarray(self.stop.signal is not None)).any())
