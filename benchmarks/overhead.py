"""The cost of safety: a training step with and without the checks and bookkeeping that protect it.

    python -m benchmarks.overhead [--config=configs/subvp/photos_ddpmpp_continuous.py] [--turns=100]

Variants of the step:

    bare        the compiled step in a loop
    bare_again  the bare step once more, which shows the error of the measurement itself
    finite      with the check of `training.on_nonfinite = skip` inside the step
    loop        with the trainer's bookkeeping around the step: pending metrics, the check for signals, and, every
                `training.log_freq` steps, means, the check for non-finite values, the running median, the check that
                the workdir is still there, and a line of metrics, also for TensorBoard
    all         with both
    averages    with two power-function EMAs

The variants alternate, one step per turn, in a rotating order. `overhead_percent` is the median over the turns of a
step's time relative to the bare step of the same turn, minus one. Its standard error is estimated by the bootstrap. The
columns with `processor_` are the same for processor time, which excludes waiting on a busy machine. The cost of a
checkpoint's checksums is given in seconds and relative to the training time between two checkpoints at the config's
interval. Prints JSON lines.
"""

import argparse
import contextlib
import json
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import measurement
from builders.network import initial_variables
from builders.objective import make_objective
from builders.optimizer import make_averages, make_ema, make_optimizer
from builders.state import make_state
from programs.train import settings_of
from runtime import malloc
from runtime.lock import workdir_lock
from runtime.signals import StopRequest
from training.checksums import checksums
from training.log import MetricsLog
from training.objectives.base import make_loss_fn
from training.progress import Progress, read_metrics
from training.state import TrainState
from training.step import make_train_step

NUM_BOOTSTRAP = 1000


class Variant:
    """A compiled step with its own state; `step()` runs and times it."""

    def __init__(self, config: ConfigDict, *, skip: bool = False, averages: bool = False, loop: bool = False):
        self.config = config.copy_and_resolve_references()
        with self.config.unlocked():
            self.config.model.ema_sigma_rels = (0.05, 0.1) if averages else ()
        self._loop, self._stop = loop, StopRequest()
        if loop:
            self._open = contextlib.ExitStack()
            workdir = pathlib.Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="overhead_")))
            self._lock = self._open.enter_context(workdir_lock(workdir))
            self._log = self._open.enter_context(MetricsLog(workdir, 0))
        tx, schedule = make_optimizer(self.config)
        key = jax.random.key(0)
        step = make_train_step(
            make_loss_fn(make_objective(self.config, 256)),
            tx,
            make_ema(self.config),
            schedule,
            key,
            averages=make_averages(self.config),
            skip_nonfinite=skip,
        )
        self._batch = measurement.random_batch(config, config.training.batch_size)
        self.progress = Progress(jax.jit(lambda: make_state(self.config, initial_variables(self.config, key)))(), 0, 0)
        self._step: Callable[..., tuple[TrainState, Any]] = (
            jax.jit(step, donate_argnums=0).lower(self.progress.state, self._batch).compile()
        )

    def step(self) -> tuple[float, float]:
        """Wall-clock and processor seconds of one step and the bookkeeping around it."""
        progress, began, began_processor = self.progress, time.perf_counter(), time.process_time()
        progress.state, metrics = self._step(progress.state, self._batch)
        if self._loop:
            progress.step += 1
            progress.pending.append((progress.step, metrics))
            if self._stop.signal is not None:
                raise KeyboardInterrupt
            if progress.step % self.config.training.log_freq == 0:
                self._lock.check()
                means = read_metrics(progress, settings_of(self.config.training), lambda step: np.zeros(0))
                self._log.write(progress.step, means, "")
        jax.block_until_ready(progress.state)
        return time.perf_counter() - began, time.process_time() - began_processor


VARIANTS: dict[str, dict[str, bool]] = {
    "bare": {},
    "bare_again": {},
    "finite": {"skip": True},
    "loop": {"loop": True},
    "all": {"skip": True, "loop": True},
    "averages": {"averages": True},
}


def overhead(times: np.ndarray, bare: np.ndarray) -> tuple[float, float]:
    """The median of `times / bare - 1` in percent, and its standard error."""
    ratios = 100 * (times / bare - 1)
    resampled = np.random.default_rng(0).choice(ratios, (NUM_BOOTSTRAP, len(ratios)))
    return float(np.median(ratios)), float(np.median(resampled, axis=1).std())


def main() -> None:
    """Measures all variants and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    measurement.add_config(parser, required=False)
    parser.set_defaults(config="configs/subvp/photos_ddpmpp_continuous.py")
    parser.add_argument("--turns", type=int, default=100, help="measured steps of each variant")
    arguments = parser.parse_args()
    config = measurement.config_of(arguments)
    variants = {name: Variant(config, **options) for name, options in VARIANTS.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(-2, arguments.turns):  # the first two are a warm-up
        names = list(variants)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds = variants[name].step()
            times[name] += [seconds] if turn >= 0 else []
    facts = {"config": arguments.config, "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    bare = np.asarray(times["bare"])
    for name, measured in times.items():
        pairs = np.asarray(measured)
        line: dict[str, Any] = {"variant": name, "ms_per_step": round(1e3 * float(np.median(pairs[:, 0])), 2)}
        for column, prefix in enumerate(("", "processor_")):
            percent, error = overhead(pairs[:, column], bare[:, column])
            line |= {f"{prefix}overhead_percent": round(percent, 2), f"{prefix}standard_error": round(error, 2)}
        print(json.dumps(line | facts), flush=True)
    state = variants["bare"].progress.state
    began = time.perf_counter()
    checksums(state)
    checksum_seconds = time.perf_counter() - began
    interval = config.training.snapshot_freq_for_preemption * float(np.median(bare[:, 0]))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    print(
        json.dumps(
            {
                "checksums_seconds": checksum_seconds,
                "bytes": size,
                "overhead_percent": 100 * checksum_seconds / interval,
            }
        )
    )


if __name__ == "__main__":
    malloc.configure()
    main()
