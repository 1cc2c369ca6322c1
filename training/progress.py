"""How far a training run is: its pending metrics, and what happens when a loss is not finite."""

import collections
import dataclasses
import logging
import statistics
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from core.errors import RunError
from core.progress import duration
from training.log import MetricsLog
from training.settings import TrainSettings
from training.state import TrainState

FETCHED = 100  # steps whose metrics are copied from the device together, if they are not logged before
SPIKE_WINDOW = 100  # losses in the running median
MIN_SPIKE_LOSSES = 20  # losses that it needs before it means anything

ExamplesOf = Callable[[int], np.ndarray]  # step, counted from 1 -> indices of the training examples in its batch


class NonFiniteLossError(RunError):
    """Training diverged at `step`, counted from 1; the message names the steps and the checkpoint that is intact."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


@dataclasses.dataclass
class Progress:
    """How far a run is. Whatever is not in the training state is saved with its checkpoints as notes."""

    state: TrainState
    step: int
    saved: int  # the step of the newest checkpoint
    pending: list[tuple[int, dict[str, Any]]] = dataclasses.field(default_factory=list)  # metrics not yet logged
    bad: set[int] = dataclasses.field(default_factory=set)  # steps, counted from 1, whose batch was left out
    losses: collections.deque[float] = dataclasses.field(default_factory=lambda: collections.deque(maxlen=SPIKE_WINDOW))

    def fetch_old(self) -> None:
        """Every `FETCHED` steps, replaces pending metrics by their values: arrays on a device take 10 KB a step."""
        if len(self.pending) % FETCHED == 0:
            self.pending[-FETCHED:] = fetched(self.pending[-FETCHED:])

    def notes(self) -> dict[str, Any]:
        """What a checkpoint stores as JSON, from which float32 values are recovered exactly."""
        pending = [[step, {k: v.tolist() for k, v in metrics.items()}] for step, metrics in fetched(self.pending)]
        return {"pending": pending, "bad_steps": sorted(self.bad)}


def from_notes(state: TrainState, step: int, notes: dict[str, Any]) -> Progress:
    """The progress at the time when checkpoint `step` was saved."""
    pending = [(end, {k: np.asarray(v, np.float32) for k, v in m.items()}) for end, m in notes.get("pending", [])]
    return Progress(state, step, step, pending, set(notes.get("bad_steps", [])))


def fetched(pending: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, np.ndarray]]]:
    """Metrics copied from the device in one transfer, as arrays [steps], each with the last of its steps."""
    return [(step, {k: np.ravel(v) for k, v in metrics.items()}) for step, metrics in jax.device_get(pending)]


def read_metrics(progress: Progress, settings: TrainSettings, examples_of: ExamplesOf) -> dict[str, float]:
    """The means of the pending metrics over the steps whose update was applied; nothing is pending afterwards.

    Errors: NonFiniteLossError.
    """
    check_finite(progress, settings, examples_of)
    applied_metrics = []
    for step, metrics in fetched(progress.pending):
        applied = metrics.get("skipped", np.zeros(1)) == 0
        if "loss" in metrics and applied.any():
            applied_metrics.append(
                {
                    k: np.broadcast_to(v, metrics["loss"].shape)[applied] if "skipped" in metrics else v
                    for k, v in metrics.items()
                    if k != "skipped"
                }
            )
            _log_spikes(progress, settings.spike_factor, step, metrics["loss"])
    if not applied_metrics:
        raise _diverged(progress, settings, progress.step, "left no usable step")
    means = {name: float(np.concatenate([m[name] for m in applied_metrics]).mean()) for name in applied_metrics[0]}
    if settings.on_nonfinite != "stop":
        means["skipped"] = float(sum(m["skipped"].sum() for _, m in fetched(progress.pending) if "skipped" in m))
    progress.pending.clear()
    return means


def check_finite(progress: Progress, settings: TrainSettings, examples_of: ExamplesOf) -> None:
    """Looks for a pending loss or gradient that is not finite, and logs the examples of its batch.

    Errors: NonFiniteLossError, unless such steps are skipped and `max_nonfinite` has not been reached.
    """
    for end, metrics in fetched(progress.pending):
        if "loss" not in metrics:  # a step whose batch was left out
            continue
        size = len(metrics["loss"])
        bad = ~(np.isfinite(metrics["loss"]) & np.isfinite(metrics["grad_norm"]))
        for step in (end - size + 1 + np.flatnonzero(bad)).tolist():
            if step in progress.bad:
                continue
            logging.warning(
                "step %d: the loss or its gradient is not finite; its batch has the training examples %s "
                "(on_nonfinite = %s)",
                step,
                " ".join(map(str, examples_of(step))),
                settings.on_nonfinite,
            )
            if settings.on_nonfinite != "skip" or len(progress.bad) >= settings.max_nonfinite:
                raise _diverged(progress, settings, step, "became non-finite")
            progress.bad.add(step)


def log_metrics(
    log: MetricsLog,
    settings: TrainSettings,
    step: int,
    means: dict[str, float],
    rate: float,
    flops: float,
    seconds_left: float,
) -> None:
    """Writes one line of metrics. `rate`: steps per second since the last line; `flops`: of one step."""
    metrics = {**means, "images_per_second": rate * settings.batch_size, "flops_per_second": rate * flops}
    log.write(
        step,
        metrics,
        f"step {step}/{settings.n_iters}  loss {means['loss']:.5g}  grad norm {means['grad_norm']:.3g}  "
        f"lr {means['learning_rate']:.3g}  {metrics['images_per_second']:.0f} images/s  "
        f"{metrics['flops_per_second'] / 1e9:.1f} GFLOP/s  {duration(seconds_left)} left",
    )


def _log_spikes(progress: Progress, factor: float, end: int, losses: np.ndarray) -> None:
    for k, loss in enumerate(losses.tolist()):
        seen = progress.losses
        median = statistics.median(seen) if factor and len(seen) >= MIN_SPIKE_LOSSES else 0.0
        if median > 0 and loss > factor * median:  # a loss may be negative, and then has no such ratio
            logging.warning(
                "step %d: the loss %.5g is %.3g times its running median",
                end - len(losses) + 1 + k,
                loss,
                loss / median,
            )
        seen.append(loss)


def _diverged(progress: Progress, settings: TrainSettings, step: int, what: str) -> NonFiniteLossError:
    first, metrics = progress.pending[0]
    first -= max(np.size(v) for v in metrics.values()) - 1
    skipped = "" if settings.on_nonfinite == "stop" else f" ({len(progress.bad)} batches were left out before)"
    return NonFiniteLossError(
        f"The loss {what} in step {step}, in the interval of steps {first} to {progress.step}{skipped}; the checkpoint "
        f"of step {progress.saved} is intact: lower config.optim.lr or config.optim.grad_clip and start the same "
        "command again.",
        step,
    )
