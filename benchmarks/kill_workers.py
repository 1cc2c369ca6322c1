"""Kills evaluation workers again and again, and compares the result with that of a single, uninterrupted worker.

    python -m benchmarks.kill_workers --kills=20 [--seed=0] [--folder=DIR]

`main.py` trains a linear model of the digits and evaluates it three times, with each worker in a separate process: with
one worker, with four, and with four that are killed (SIGKILL) one at a time and restarted. They are killed at startup,
while one of them writes a round, between rounds, and at random. The report, the overview, and all round files are
compared by SHA-256, and the rounds are checked to contain each image exactly once. Prints JSON lines, one per
evaluation. The exit code is 1 if anything differs.
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
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.hostile.kinds import NETWORK

ROOT = pathlib.Path(__file__).parent.parent
WORKERS = 4
NUM_TEST, NUM_SAMPLES = 300, 100  # test images of the digits, generated samples
SETTINGS = {
    "model.name": NETWORK,
    "eval.batch_size": 8,  # many rounds
    "eval.enable_bpd": True,
    "eval.bpd_method": "bound",  # compiles quickly
    "eval.enable_sampling": True,
    "eval.enable_metrics": True,
    "eval.features": "pixels",
    "eval.metrics": "('fid', 'kid', 'recall')",
    "eval.num_samples": NUM_SAMPLES,
    "eval.sample_format": "both",
}
# When to kill, in this order.
MOMENTS = ("between rounds", "write", "start", "random")


class Process:
    """A process of `main.py`; its output is appended to LOG.log in the folder."""

    def __init__(self, folder: pathlib.Path, log: str, *flags: str):
        command = [sys.executable, "main.py", "--config=configs/vp/smoke.py", f"--workdir={folder / 'run'}", *flags]
        command += [f"--config.{key}={value}" for key, value in SETTINGS.items()]
        command += [f"--config.data.data_dir={folder / 'data'}", "--cpu_devices=1"]
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
        self.log = folder / f"{log}.log"
        with self.log.open("a") as file:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, env={**os.environ, **cache})

    def alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def kill(self) -> bool:
        """Sends SIGKILL; False if the process had already exited."""
        self._process.send_signal(signal.SIGKILL)
        return self._process.wait() == -signal.SIGKILL

    def wait(self) -> int:
        """Waits for the process to exit; its exit code."""
        return self._process.wait()


def worker(folder: pathlib.Path, name: str, index: int = 0, count: int = 1) -> Process:
    """Starts worker `index` of `count` of the evaluation `name`."""
    mode = ("--mode=eval", f"--eval_folder={name}", f"--eval_worker={index}", f"--eval_workers={count}")
    return Process(folder, f"{name}_{index}", *mode)


def digest(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file of an evaluation except wall-clock times, the page that shows them, and temporary files."""
    timed = ("wall_seconds.jsonl", "report.html")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in timed]
    names = {path: str(path.relative_to(folder)) for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for path, name in names.items() if "/." not in f"/{name}"
    }


def counted_once(folder: pathlib.Path) -> bool:
    """Whether the rounds contain each test image and each sample exactly once."""
    for task, num in (("loss", NUM_TEST), ("bits_per_dim", NUM_TEST), ("samples", NUM_SAMPLES)):
        indices = []
        for path in sorted((folder / "ckpt_1" / task).glob("round_*.npz")):
            with np.load(path, allow_pickle=False) as arrays:
                indices.append(arrays["index"])
        if not np.array_equal(np.concatenate(indices), np.arange(num)):
            return False
    results = json.loads((folder / "ckpt_1" / "report.json").read_text())["results"]
    return results["loss"]["num_examples"] == results["bits_per_dim"]["num_examples"] == NUM_TEST


def kill_one(folder: pathlib.Path, workers: list[Process], moment: str, rng: random.Random) -> int | None:
    """Kills one of the workers at that moment; its index, or None if all exited first."""
    began, before = time.monotonic(), _rounds(folder)
    delay = rng.uniform(0, 3)
    while alive := [index for index, process in enumerate(workers) if process.alive()]:
        reached = {
            "between rounds": _rounds(folder) > before + rng.randrange(3),
            "write": any(folder.glob("ckpt_1/*/.round_*.tmp")),
            "start": time.monotonic() > began + delay,
            "random": _rounds(folder) > before and time.monotonic() > began + delay,
        }
        if reached[moment]:
            chosen = rng.choice(alive)
            return chosen if workers[chosen].kill() else None
        time.sleep(0.0005)
    return None


def _rounds(folder: pathlib.Path) -> int:
    return sum(1 for _ in folder.glob("*/*/round_*.npz"))


def killed(folder: pathlib.Path, kills: int, rng: random.Random) -> tuple[dict[str, int], list[int]]:
    """Evaluates with workers that are killed and restarted; the number of kills by moment, and the exit codes."""
    workers = [worker(folder, "killed", index, WORKERS) for index in range(WORKERS)]
    hits = collections.Counter[str]()
    for number in range(kills):
        moment = MOMENTS[number % len(MOMENTS)]
        index = kill_one(folder / "run" / "killed", workers, moment, rng)
        if index is None:
            break
        hits[moment] += 1
        workers[index] = worker(folder, "killed", index, WORKERS)
    return dict(hits), [process.wait() for process in workers]


def measure(kills: int, folder: pathlib.Path, seed: int) -> Iterator[dict[str, Any]]:
    """Runs the three evaluations; a dict for each."""
    folder.mkdir(parents=True, exist_ok=True)
    if Process(folder, "train", "--mode=train").wait() != 0 or worker(folder, "alone").wait() != 0:
        raise RuntimeError(f"training or the evaluation with one worker failed: see {folder}/*.log")
    expected = digest(folder / "run" / "alone")
    for name in ("alone", "four", "killed"):
        hits, codes = dict[str, int](), [0]
        if name == "four":
            codes = [process.wait() for process in [worker(folder, name, i, WORKERS) for i in range(WORKERS)]]
        elif name == "killed":
            hits, codes = killed(folder, kills, random.Random(seed))
        actual = digest(folder / "run" / name)
        different = sorted(path for path in expected.keys() | actual.keys() if expected.get(path) != actual.get(path))
        yield {
            "evaluation": name,
            "kills": hits,
            "exit_codes": codes,
            "compared": len(expected),
            "different": different,
            "each image once": counted_once(folder / "run" / name),
        }


def main() -> int:
    """Runs the comparison and prints the results; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="total number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and the choice of workers")
    parser.add_argument("--folder", type=pathlib.Path, default=None, help="folder of the run; temporary by default")
    arguments = parser.parse_args()
    folder = (arguments.folder or pathlib.Path(tempfile.mkdtemp(prefix="kill_workers_"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    num_different = 0
    for result in measure(arguments.kills, folder, arguments.seed):
        print(json.dumps(result), flush=True)
        num_different += bool(result["different"] or any(result["exit_codes"]) or not result["each image once"])
    return 1 if num_different else 0


if __name__ == "__main__":
    sys.exit(main())
