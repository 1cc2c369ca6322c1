"""Kills a training run, over and over, and compares what it ends with to a run that nobody touched.

    python -m benchmarks.kill --kills=20 [--seed=0] [--folder=DIR] [--steps=60]

A tiny model of the digits is trained by `main.py` as a process of its own. The moments of the kills (SIGKILL): while it
starts, at random while it trains, during the write of either kind of checkpoint, while samples of a snapshot are drawn,
and between a snapshot and the checkpoint that follows it, found by watching the workdir; and a SIGTERM here and there.
The same command then goes on. A run is killed some times, ends, and is compared: SHA-256 of step, parameters, average
and optimiser state of its last and of all kept checkpoints, of `metrics.jsonl` without the wall times, and of the grids
of samples. Prints JSON lines: one for each run, and a summary. Ends with 1 where anything differs.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from builders.state import abstract_state
from configs import default
from configs.vp import smoke
from training.checkpoint import Checkpoints

ROOT = pathlib.Path(__file__).parent.parent
MAX_KILLS_OF_A_RUN = 8
_TRAINING = "compiled the training step"  # the line after which it trains


def settings(data_dir: pathlib.Path, steps: int) -> dict[str, Any]:
    """What differs from the smoke config: often enough something to hit."""
    return {
        "data.data_dir": str(data_dir),
        "training.n_iters": steps,
        "training.log_freq": 5,
        "training.eval_freq": 10,
        "training.snapshot_freq_for_preemption": 10,
        "training.snapshot_freq": 20,
        "sampling.num_steps": 200,
    }


def config_of(data_dir: pathlib.Path, steps: int) -> ConfigDict:
    """The config of the runs."""
    config = smoke.get_config()
    for key, value in settings(data_dir, steps).items():
        section, name = key.split(".")
        config[section][name] = value
    return config


class Trainer:
    """One process that trains in a workdir; its messages are in a file."""

    def __init__(self, workdir: pathlib.Path, data_dir: pathlib.Path, steps: int):
        self.workdir, self.log = workdir, workdir.with_suffix(".log")
        flags = [f"--config.{key}={value}" for key, value in settings(data_dir, steps).items()]
        command = [sys.executable, "main.py", "--config=configs/vp/smoke.py", f"--workdir={workdir}", "--mode=train"]
        cache = {"JAX_COMPILATION_CACHE_DIR": str(data_dir.parent / "cache")}
        small = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
        with self.log.open("a") as file:
            self._began = file.tell()
            self._process = subprocess.Popen(
                [*command, *flags], cwd=ROOT, stdout=file, stderr=file, env={**os.environ, **cache, **small}
            )

    def messages(self) -> str:
        """What this process has said."""
        with self.log.open() as file:
            file.seek(self._began)
            return file.read()

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """A signal; returns when the process has ended."""
        self._process.send_signal(number)
        self._process.wait()

    def end(self) -> int:
        """Waits for the end; the exit code."""
        return self._process.wait()


# When to kill: true once the moment has come -----------------------------------------------------------------------


def _is_training(trainer: Trainer) -> bool:
    return _TRAINING in trainer.messages()


def _writes(folder: str) -> Callable[[Trainer], bool]:
    return lambda trainer: any(".orbax-checkpoint-tmp" in path.name for path in _listed(trainer.workdir / folder))


def _samples(trainer: Trainer) -> bool:
    """A snapshot is saved whose grid of samples is not there."""
    kept = {path.name for path in _listed(trainer.workdir / "checkpoints") if path.name.isdigit()}
    grids = {path.stem.removeprefix("snapshot_") for path in _listed(trainer.workdir / "samples")}
    return bool(kept - grids)


def _between(trainer: Trainer) -> bool:
    """A grid is there, but not the checkpoint of its step."""
    grids = {
        20 * int(path.stem.removeprefix("snapshot_")) for path in _listed(trainer.workdir / "samples", "snap*.png")
    }
    newest = {int(path.name) for path in _listed(trainer.workdir / "checkpoints-meta") if path.name.isdigit()}
    return bool(newest) and bool(grids) and max(grids) > max(newest)


def _listed(folder: pathlib.Path, pattern: str = "*") -> list[pathlib.Path]:
    return list(folder.glob(pattern)) if folder.is_dir() else []


# (condition, seconds at most after it, signal)
MOMENTS: dict[str, tuple[Callable[[Trainer], bool], float, signal.Signals]] = {
    "random": (_is_training, 6.0, signal.SIGKILL),
    "start": (lambda trainer: True, 4.0, signal.SIGKILL),
    "write of checkpoints-meta": (_writes("checkpoints-meta"), 0.05, signal.SIGKILL),
    "write of checkpoints": (_writes("checkpoints"), 0.05, signal.SIGKILL),
    "sampling": (_samples, 0.1, signal.SIGKILL),
    "between snapshot and checkpoint": (_between, 0.002, signal.SIGKILL),
    "SIGTERM": (_is_training, 4.0, signal.SIGTERM),
}


def kill(trainer: Trainer, moment: str, dice: random.Random) -> bool:
    """Kills at that moment; False where the run ended before it came."""
    condition, delay, number = MOMENTS[moment]
    while trainer.alive() and not condition(trainer):
        time.sleep(0.001)
    time.sleep(dice.uniform(0, delay))
    if not trainer.alive():
        return False
    trainer.send(number)
    return trainer.end() in (-number, 5)


def digest(workdir: pathlib.Path, config: ConfigDict) -> dict[str, str]:
    """SHA-256 of everything that a run leaves, by name."""
    found = {}
    like = abstract_state(config)
    for folder in ("checkpoints", "checkpoints-meta"):
        store = Checkpoints(workdir / folder)
        for number in store.numbers()[-1:] if folder == "checkpoints-meta" else store.numbers():
            state = store.restore(number, like)
            for name in ("step", "params", "ema_params", "opt_state"):
                found[f"{folder}/{number} {name}"] = _sha256(map(np.asarray, jax.tree.leaves(getattr(state, name))))
        store.close()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines]
    found["metrics.jsonl"] = hashlib.sha256(json.dumps(kept).encode()).hexdigest()
    for path in sorted((workdir / "samples").iterdir()):
        found[f"samples/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _sha256(arrays: Iterator[np.ndarray]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def measure(kills: int, folder: pathlib.Path, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    """Kills that many times, over as many runs as it takes; a dict for each run. Deterministic only in its dice."""
    dice, data_dir = random.Random(seed), folder / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    config = config_of(data_dir, steps)
    default.validate(config)
    if Trainer(folder / "whole", data_dir, steps).end() != 0:
        raise RuntimeError(f"the run that is left alone ended with an error: see {folder / 'whole.log'}")
    expected = digest(folder / "whole", config)
    done, moments = 0, list(MOMENTS)
    while done < kills:
        workdir, hits = folder / f"killed_{done}", collections.Counter[str]()
        while (trainer := Trainer(workdir, data_dir, steps)) and hits.total() < min(MAX_KILLS_OF_A_RUN, kills - done):
            moment = moments[(done + hits.total()) % len(moments)]
            if not kill(trainer, moment, dice):
                break
            hits[moment] += 1
        code = trainer.end()
        found = digest(workdir, config) if code == 0 else {}
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        done += hits.total()
        yield {"kills": dict(hits), "exit_code": code, "compared": len(expected), "different": different}
        moments = moments[1:] + moments[:1]  # so that a moment that does not come is not waited for again and again


def main() -> int:
    """Prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--folder", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    folder = (arguments.folder or pathlib.Path(tempfile.mkdtemp(prefix="kill_"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    total, wrong = collections.Counter[str](), 0
    for result in measure(arguments.kills, folder, arguments.seed, arguments.steps):
        print(json.dumps(result), flush=True)
        total.update(result["kills"])
        wrong += bool(result["different"] or result["exit_code"])
    print(json.dumps({"kills": total.total(), "by moment": dict(total), "runs that differ": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
