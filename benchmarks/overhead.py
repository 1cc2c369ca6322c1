"""What it costs to be safe: a training step with everything that watches over it, and without.

    python -m benchmarks.overhead [--repeats=15] [--steps=20] [--batch=64] [--nf=16]

`bare`: the compiled step in a loop. `finite`: with the check of `training.on_nonfinite = skip` inside the step.
`averages`: with two power-function averages. `loop`: the trainer's own bookkeeping around the bare step, which is the
pending metrics, the question whether a signal has come, and at the end the means, the search for what is not finite,
and the running median. The variants take turns; times are medians of the repeats, in milliseconds a step, and the
overhead is the median of the ratios within a turn, with the middle half of them. What a checkpoint costs for its
checksums is told in seconds, and as a share of the steps between two checkpoints at the default interval.
Prints JSON lines.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import build
import snapshot
from configs import default, presets
from progress import Progress, read
from training.integrity import checksums
from training.losses import make_loss_fn
from training.state import TrainState, make_train_step
from training.stop import StopRequest


class Variant:
    """A compiled step and a state of its own; `run(steps)` gives the seconds of a step."""

    def __init__(self, config: ConfigDict, *, skip: bool = False, averages: bool = False, loop: bool = False):
        with config.unlocked():
            config.model.ema_sigma_rels = (0.05, 0.1) if averages else ()
        self._config, self._loop = config, loop
        tx, schedule = build.optimizer(config)
        further = build.averages(config)
        key = jax.random.key(0)
        step = make_train_step(
            make_loss_fn(build.per_example_loss(config, 256)),
            tx,
            build.ema(config),
            schedule,
            key,
            averages=further,
            skip_nonfinite=skip,
        )
        shape = (config.training.batch_size, config.data.image_size, config.data.image_size, config.data.num_channels)
        rows = np.random.default_rng(0).integers(0, 256, shape)
        self._batch = {"x": rows.astype(np.uint8), "label": np.zeros(shape[:1], np.int32)}
        self.state: TrainState = jax.jit(lambda: snapshot.initial(config, key))()
        self._step: Callable[..., tuple[TrainState, Any]] = (
            jax.jit(step, donate_argnums=0).lower(self.state, self._batch).compile()
        )
        self.run(2)

    def run(self, steps: int) -> float:
        """Seconds of a step, over that many."""
        at, stop = Progress(self.state, 0, 0), StopRequest()
        began = time.perf_counter()
        for _ in range(steps):
            at.state, metrics = self._step(at.state, self._batch)
            if self._loop:
                at.step += 1
                at.pending.append((at.step, metrics))
                if stop.signal is not None:
                    break
        if self._loop:
            read(self, at)  # type: ignore[arg-type]  # all that it needs is the config
        jax.block_until_ready(at.state)
        self.state = at.state
        return (time.perf_counter() - began) / steps

    @property
    def config(self) -> ConfigDict:
        """As an experiment has it."""
        return self._config


def config_of(batch: int, nf: int) -> ConfigDict:
    """The network of the smoke config, on images of 8x8."""
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.smoke(config)
    config.model.nf = nf
    config.training.batch_size = batch
    default.validate(config)
    return config


def main() -> None:
    """Prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("repeats", 15), ("steps", 20), ("batch", 64), ("nf", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    settings: dict[str, dict[str, bool]] = {
        "bare": {},
        "finite": {"skip": True},
        "averages": {"averages": True},
        "loop": {"loop": True},
    }
    variants = {name: Variant(config_of(arguments.batch, arguments.nf), **given) for name, given in settings.items()}
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(arguments.repeats):
        names = list(variants)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(variants[name].run(arguments.steps))
    for name, measured in times.items():
        ratios = sorted(t / bare - 1 for t, bare in zip(measured, times["bare"], strict=True))
        quarter = len(ratios) // 4
        print(
            json.dumps(
                {
                    "variant": name,
                    "ms_per_step": round(1e3 * statistics.median(measured), 3),
                    "overhead_percent": round(100 * statistics.median(ratios), 2),
                    "middle_half_percent": [round(100 * ratios[k], 2) for k in (quarter, -1 - quarter)],
                    "device": jax.devices()[0].device_kind,
                    "jax": jax.__version__,
                }
            ),
            flush=True,
        )
    began = time.perf_counter()
    checksums(variants["bare"].state)
    seconds = time.perf_counter() - began
    interval = default.get_config().training.snapshot_freq_for_preemption * statistics.median(times["bare"])
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(variants["bare"].state))
    print(json.dumps({"checksums_seconds": seconds, "bytes": size, "overhead_percent": 100 * seconds / interval}))


if __name__ == "__main__":
    main()
