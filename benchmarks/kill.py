"""Kills a training run again and again, and compares the result with that of an uninterrupted run.

    python -m benchmarks.kill --kills=20 [--seed=0] [--folder=DIR] [--steps=60] [--config=configs/vp/smoke.py]
        [--config.KEY=VALUE ...]

`main.py` trains a tiny model of the digits in a separate process, with two data workers; or another experiment, with
changes to it. Most kills are by SIGKILL: at startup, at a random moment during training, during the write of either
kind of checkpoint, while a snapshot is sampled, and between a snapshot and the checkpoint that follows it. These
moments are recognized by polling the workdir. Some kills are by SIGTERM, and some are of a data worker, after which the
trainer saves its step and ends with code 6. After each kill the data workers must end, too, and the same command
resumes the run. Once the run has finished, the following are compared by SHA-256: step, parameters, EMA, optimizer
state, and other collections, such as a codebook's counts, of the newest resumable checkpoint and of all kept
checkpoints; `metrics.jsonl` without rates; the grids of samples. Prints JSON lines, one per run and a summary. The exit
code is 1 if anything differs.
"""

import argparse
import collections
import contextlib
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
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import measurement
from core.errors import ExitCode
from programs.run import Run
from training.checkpoint import Checkpoints

ROOT = pathlib.Path(__file__).parent.parent
MAX_KILLS_PER_RUN = 8
ORPHAN_SECONDS = 30.0  # until a data worker without its trainer counts as left behind
_TRAINING = "compiled the training step"  # logged when training starts


class Experiment(NamedTuple):
    """What is trained: a file of `configs/`, and changes by key."""

    path: str = "configs/vp/smoke.py"
    changes: Mapping[str, Any] = types.MappingProxyType({})


SMOKE = Experiment()


def flags_of(experiment: Experiment, data_dir: pathlib.Path, steps: int) -> list[str]:
    """The flags of all runs: the experiment with frequent checkpoints and snapshots."""
    settings = {
        "data.data_dir": str(data_dir),
        "training.n_iters": steps,
        "training.log_freq": 5,
        "training.eval_freq": 10,
        "training.snapshot_freq_for_preemption": 10,
        "training.snapshot_freq": 20,
        "sampling.num_steps": 200,
        "data.num_workers": 2,
    }
    changes = [f"--config.{key}={value}" for key, value in {**settings, **experiment.changes}.items()]
    return [f"--config={experiment.path}", *changes]


class Trainer:
    """A training process; its output is appended to WORKDIR.log."""

    def __init__(self, workdir: pathlib.Path, flags: list[str], cache_dir: pathlib.Path):
        self.workdir, self.log = workdir, workdir.with_suffix(".log")
        command = [sys.executable, "main.py", f"--workdir={workdir}", "--mode=train"]
        cache = {"JAX_COMPILATION_CACHE_DIR": str(cache_dir)}
        cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
        with self.log.open("a") as file:
            self._log_start = file.tell()
            self._process = subprocess.Popen(
                [*command, *flags], cwd=ROOT, stdout=file, stderr=file, env={**os.environ, **cache}
            )

    def messages(self) -> str:
        """The output of this process so far."""
        with self.log.open() as file:
            file.seek(self._log_start)
            return file.read()

    def alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def workers(self) -> list[int]:
        """The process ids of its data workers."""
        return data_workers(self._process.pid)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal and waits for the process to exit."""
        self._process.send_signal(number)
        self._process.wait()

    def wait(self) -> int:
        """Waits for the process to exit; its exit code."""
        return self._process.wait()


def content(path: str) -> bytes:
    """The content of a file of /proc; nothing where the process has ended."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


def data_workers(process: int) -> list[int]:
    """The process ids of a process's data workers: its children, without the one that tracks resources."""
    children = pathlib.Path(f"/proc/{process}/task").glob("*/children")
    numbers = [int(number) for path in children for number in content(str(path)).split()]
    return [number for number in numbers if b"spawn_main" in content(f"/proc/{number}/cmdline")]


def orphans(workers: list[int]) -> int:
    """How many of these data workers are still there, a while after their trainer has ended."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := sum(b"spawn_main" in content(f"/proc/{n}/cmdline") for n in workers)) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    return left


# When to kill: conditions on a running process -----------------------------------------------------------------------


def _is_training(trainer: Trainer) -> bool:
    return _TRAINING in trainer.messages()


def _is_writing(folder: str) -> Callable[[Trainer], bool]:
    return lambda trainer: any(".orbax-checkpoint-tmp" in path.name for path in _paths_in(trainer.workdir / folder))


def _is_sampling(trainer: Trainer) -> bool:
    """Whether a snapshot is saved but its grid of samples is not."""
    kept = {path.name for path in _paths_in(trainer.workdir / "checkpoints") if path.name.isdigit()}
    grids = {path.stem.removeprefix("snapshot_") for path in _paths_in(trainer.workdir / "samples")}
    return bool(kept - grids)


def _is_before_checkpoint(trainer: Trainer) -> bool:
    """Whether a grid of samples is saved but the resumable checkpoint of its step is not."""
    grids = {
        20 * int(path.stem.removeprefix("snapshot_")) for path in _paths_in(trainer.workdir / "samples", "snap*.png")
    }
    newest = {int(path.name) for path in _paths_in(trainer.workdir / "checkpoints-meta") if path.name.isdigit()}
    return bool(newest) and bool(grids) and max(grids) > max(newest)


def _paths_in(folder: pathlib.Path, pattern: str = "*") -> list[pathlib.Path]:
    return list(folder.glob(pattern)) if folder.is_dir() else []


WORKER = "data worker"
# (condition, maximum delay in seconds after it holds, signal)
MOMENTS: dict[str, tuple[Callable[[Trainer], bool], float, signal.Signals]] = {
    "random": (_is_training, 6.0, signal.SIGKILL),
    "start": (lambda trainer: True, 4.0, signal.SIGKILL),
    "write of checkpoints-meta": (_is_writing("checkpoints-meta"), 0.05, signal.SIGKILL),
    "write of checkpoints": (_is_writing("checkpoints"), 0.05, signal.SIGKILL),
    "sampling": (_is_sampling, 0.1, signal.SIGKILL),
    "between snapshot and checkpoint": (_is_before_checkpoint, 0.002, signal.SIGKILL),
    "SIGTERM": (_is_training, 4.0, signal.SIGTERM),
    WORKER: (lambda trainer: bool(_is_training(trainer) and trainer.workers()), 2.0, signal.SIGKILL),
}


class Killed(NamedTuple):
    """Whether a process was killed before it exited by itself, and how many data workers it left behind."""

    hit: bool
    orphans: int


def kill(trainer: Trainer, moment: str, rng: random.Random) -> Killed:
    """Kills the process, or one of its data workers, at that moment."""
    condition, delay, number = MOMENTS[moment]
    while trainer.alive() and not condition(trainer):
        time.sleep(0.001)
    time.sleep(rng.uniform(0, delay))
    workers = trainer.workers()
    if not trainer.alive() or (moment == WORKER and not workers):
        return Killed(False, 0)
    if moment == WORKER:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(workers), number)
        code = trainer.wait()
        return Killed(code == ExitCode.PEER_GONE, orphans(workers))
    trainer.send(number)
    return Killed(trainer.wait() in (-number, ExitCode.STOPPED), orphans(workers))


def config_of(flags: list[str]) -> ConfigDict:
    """The config of such flags."""
    parser = argparse.ArgumentParser()
    measurement.add_config(parser)
    return measurement.config_of(parser.parse_args(flags))


def digest(workdir: pathlib.Path, config: ConfigDict) -> dict[str, str]:
    """SHA-256 of everything compared, by name."""
    hashes = {}
    abstract = Run(config, str(workdir), jax.devices()[:1]).abstract_state()
    for folder in ("checkpoints", "checkpoints-meta"):
        store = Checkpoints(workdir / folder)
        for number in store.numbers()[-1:] if folder == "checkpoints-meta" else store.numbers():
            state = store.restore(number, abstract)
            for name in ("step", "params", "ema_params", "opt_state", "collections"):
                hashes[f"{folder}/{number} {name}"] = _sha256(map(np.asarray, jax.tree.leaves(getattr(state, name))))
        store.close()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines]
    hashes["metrics.jsonl"] = hashlib.sha256(json.dumps(kept).encode()).hexdigest()
    for path in sorted(_paths_in(workdir / "samples")):
        hashes[f"samples/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def _sha256(arrays: Iterator[np.ndarray]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def measure(
    kills: int, folder: pathlib.Path, seed: int, steps: int, experiment: Experiment = SMOKE
) -> Iterator[dict[str, Any]]:
    """Kills `kills` times in total, over several runs; a dict for each run. `seed` determines only the delays."""
    rng, cache = random.Random(seed), folder / "cache"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    flags = flags_of(experiment, folder / "data", steps)
    if Trainer(folder / "uninterrupted", flags, cache).wait() != 0:
        raise RuntimeError(f"the uninterrupted run failed: see {folder / 'uninterrupted.log'}")
    config = config_of(flags)
    expected = digest(folder / "uninterrupted", config)
    done, moments = 0, list(MOMENTS)
    while done < kills:
        workdir, hits, left = folder / f"killed_{done}", collections.Counter[str](), 0
        while (trainer := Trainer(workdir, flags, cache)) and hits.total() < min(MAX_KILLS_PER_RUN, kills - done):
            moment = moments[(done + hits.total()) % len(moments)]
            killed = kill(trainer, moment, rng)
            left += killed.orphans
            if not killed.hit:
                break
            hits[moment] += 1
        code = trainer.wait()
        actual = digest(workdir, config) if code == 0 else {}
        different = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
        done += hits.total()
        yield {
            "kills": dict(hits),
            "exit_code": code,
            "orphans": left,
            "compared": len(expected),
            "different": different,
        }
        moments = moments[1:] + moments[:1]  # so that runs do not all wait for a moment that may not occur


def main() -> int:
    """Runs the comparison and prints the results; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="total number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the delays")
    parser.add_argument("--steps", type=int, default=60, help="training steps of a run")
    parser.add_argument("--folder", type=pathlib.Path, default=None, help="folder of the runs; temporary by default")
    measurement.add_config(parser, required=False)
    arguments = parser.parse_args()
    changes = {k.removeprefix("config."): v for k, v in vars(arguments).items() if k.startswith("config.") and v}
    experiment = Experiment(arguments.config or SMOKE.path, changes)
    folder = (arguments.folder or pathlib.Path(tempfile.mkdtemp(prefix="kill_"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    total, num_different = collections.Counter[str](), 0
    for result in measure(arguments.kills, folder, arguments.seed, arguments.steps, experiment):
        print(json.dumps(result), flush=True)
        total.update(result["kills"])
        num_different += bool(result["different"] or result["exit_code"] or result["orphans"])
    print(json.dumps({"kills": total.total(), "by moment": dict(total), "runs that differ": num_different}))
    return 1 if num_different else 0


if __name__ == "__main__":
    sys.exit(main())
