"""Where a training run stands, its metrics, and what is done about a loss that is not finite."""

import collections
import dataclasses
import logging
import statistics
from typing import Any

import jax
import numpy as np

from core.errors import RunError
from data.pipeline import examples_of_step
from programs.run import Run
from training.log import MetricsLog
from training.state import TrainState

SPIKE_WINDOW, SPIKE_LEAST = 100, 20  # losses of which the running median is taken, and how many there must be


class NonFiniteLossError(RunError):
    """Training diverged; the message names the steps and the checkpoint that is intact. `step`, from 1: the bad one."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


@dataclasses.dataclass
class Progress:
    """Where a run stands. What of it is not in the training state goes into its checkpoints as notes."""

    state: TrainState
    step: int
    saved: int  # the step of the newest checkpoint
    pending: list[tuple[int, dict[str, Any]]] = dataclasses.field(default_factory=list)  # metrics of no line yet
    bad: set[int] = dataclasses.field(default_factory=set)  # steps, from 1, whose batch was left out
    losses: collections.deque[float] = dataclasses.field(default_factory=lambda: collections.deque(maxlen=SPIKE_WINDOW))

    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON, in which float32 comes back as it was."""
        pending = [[step, {k: v.tolist() for k, v in metrics.items()}] for step, metrics in fetched(self.pending)]
        return {"pending": pending, "bad_steps": sorted(self.bad)}


def from_notes(state: TrainState, step: int, notes: dict[str, Any]) -> Progress:
    """Where the run stood when checkpoint `step` was saved."""
    pending = [(end, {k: np.asarray(v, np.float32) for k, v in m.items()}) for end, m in notes.get("pending", [])]
    return Progress(state, step, step, pending, set(notes.get("bad_steps", [])))


def fetched(pending: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, np.ndarray]]]:
    """Metrics from the device, in one transfer, as arrays [steps]; each with its last step."""
    return [(step, {k: np.ravel(v) for k, v in metrics.items()}) for step, metrics in jax.device_get(pending)]


def read(run: Run, at: Progress) -> dict[str, float]:
    """The means of the metrics since the last line, over the steps whose update was made; none is pending then.

    Errors: NonFiniteLossError.
    """
    check(run, at)
    made = []
    for step, metrics in fetched(at.pending):
        applied = metrics.get("skipped", np.zeros(1)) == 0
        if "loss" in metrics and applied.any():
            made.append(
                {
                    k: np.broadcast_to(v, metrics["loss"].shape)[applied] if "skipped" in metrics else v
                    for k, v in metrics.items()
                    if k != "skipped"
                }
            )
            _tell_spikes(run, at, step, metrics["loss"])
    if not made:
        raise _diverged(run, at, at.step, "left no step of use")
    means = {name: float(np.concatenate([m[name] for m in made]).mean()) for name in made[0]}
    if run.config.training.on_nonfinite != "stop":
        means["skipped"] = float(sum(m["skipped"].sum() for _, m in fetched(at.pending) if "skipped" in m))
    at.pending.clear()
    return means


def check(run: Run, at: Progress) -> None:
    """Looks for a loss or gradient that is not finite; logs the examples of its batch.

    Errors: NonFiniteLossError, unless the policy is to skip and there have not been too many.
    """
    training = run.config.training
    for end, metrics in fetched(at.pending):
        if "loss" not in metrics:  # a step that was passed over
            continue
        size = len(metrics["loss"])
        bad = ~(np.isfinite(metrics["loss"]) & np.isfinite(metrics["grad_norm"]))
        for step in (end - size + 1 + np.flatnonzero(bad)).tolist():
            if step in at.bad:
                continue
            _tell_examples(run, step)
            if training.on_nonfinite != "skip" or len(at.bad) >= training.max_nonfinite:
                raise _diverged(run, at, step, "became non-finite")
            at.bad.add(step)


def _tell_examples(run: Run, step: int) -> None:
    config = run.config
    indices = examples_of_step(run.train, seed=config.seed, batch_size=config.training.batch_size, step=step - 1)
    logging.warning(
        "step %d: the loss or its gradient is not finite; its batch has the training examples %s (on_nonfinite = %s)",
        step,
        " ".join(map(str, indices)),
        config.training.on_nonfinite,
    )


def _tell_spikes(run: Run, at: Progress, end: int, losses: np.ndarray) -> None:
    factor = run.config.training.spike_factor
    for k, loss in enumerate(losses.tolist()):
        if factor and len(at.losses) >= SPIKE_LEAST and loss > factor * (median := statistics.median(at.losses)):
            logging.warning(
                "step %d: the loss %.5g is %.3g times its running median",
                end - len(losses) + 1 + k,
                loss,
                loss / median,
            )
        at.losses.append(loss)


def _diverged(run: Run, at: Progress, step: int, what: str) -> NonFiniteLossError:
    first, metrics = at.pending[0]
    first -= max(np.size(v) for v in metrics.values()) - 1
    policy = "" if run.config.training.on_nonfinite == "stop" else f" ({len(at.bad)} batches were left out before)"
    return NonFiniteLossError(
        f"The loss {what} in step {step}, in the interval of steps {first} to {at.step}{policy}; the checkpoint of "
        f"step {at.saved} is intact: lower config.optim.lr or config.optim.grad_clip and start the same command again.",
        step,
    )


def log_line(run: Run, log: MetricsLog, step: int, means: dict[str, float], rate: float, flops: float) -> None:
    """One line of metrics. `rate`: steps per second since the last line; `flops`: of one step."""
    training = run.config.training
    left = (training.n_iters - step) / rate
    metrics = {**means, "images_per_second": rate * training.batch_size, "flops_per_second": rate * flops}
    log.write(
        step,
        metrics,
        f"step {step}/{training.n_iters}  loss {means['loss']:.5g}  grad norm {means['grad_norm']:.3g}  "
        f"lr {means['learning_rate']:.3g}  {metrics['images_per_second']:.0f} images/s  "
        f"{metrics['flops_per_second'] / 1e9:.1f} GFLOP/s  {_duration(left)} left",
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
