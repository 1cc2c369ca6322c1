"""Flips bits in the files of checkpoints, and runs the programs on what is left of them.

    python -m benchmarks.bit_flips --flips=500 [--seed=0] [--folder=DIR]

A perceptron is trained for 20 steps. Each flip changes one random bit of one random file of a copy: of the newest
resumable checkpoint, or of the kept one. All files are hit equally often. Then `main.py` runs with its command line,
in a process forked from one that has imported it: training for the former; sampling, evaluation and export in turn
for the latter. The end is one of

    harmless    exit code 0, and the output is that of an undamaged checkpoint
    fell back   exit code 0 after the damaged checkpoint was set aside; the output is the same
    detected    exit code 3 and one sentence

and everything else is a finding: another exit code, a traceback, other output, or more than 60 seconds (--seconds).
Prints JSON lines, one for each finding and a summary. The exit code is 1 if there are findings.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import forked
from benchmarks.forked import Done

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "vp" / "vectors_mlp_continuous.py"
SECONDS = 60.0  # that a program may take; more for the first, which fills the cache of compiled programs
SETTINGS = {
    "training.n_iters": 20,
    "training.batch_size": 16,
    "training.log_freq": 5,
    "training.eval_freq": 0,
    "training.snapshot_freq": 20,
    "training.snapshot_freq_for_preemption": 10,
    "training.snapshot_sampling": False,
    "model.nf": 16,
    "sampling.num_steps": 4,
    "eval.batch_size": 64,
    "eval.begin_ckpt": 1,
    "eval.end_ckpt": 1,
    "eval.enable_bpd": False,
    "eval.enable_sampling": False,
    "eval.enable_metrics": False,
}
MODES = ("sample", "eval", "export")  # of the kept checkpoint


def command(workdir: pathlib.Path, mode: str) -> list[str]:
    """The command line of a program."""
    more = {
        "sample": ["--num_samples=4"],
        "export": [f"--checkpoint={workdir / 'exported.npz'}"],
    }
    settings = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    return [
        "main.py", f"--config={CONFIG}", f"--workdir={workdir}", f"--mode={mode}", "--cpu_devices=1",
        f"--compilation_cache={workdir.parent / 'cache'}",
        *more.get(mode, []), *settings,
    ]  # fmt: skip


def run(workdir: pathlib.Path, mode: str, seconds: float) -> Done:
    """Runs `main.py` in a process of its own, which need not import it."""
    return forked.run(command(workdir, mode), workdir.with_suffix(".log"), seconds)


def output(workdir: pathlib.Path, mode: str) -> str:
    """SHA-256 of what a program has written."""
    if mode == "train":
        stored = [workdir / "checkpoints-meta" / "20" / "checksums" / "metadata", workdir / "finished.json"]
    else:
        names = {"sample": "sample/unconditional/samples.npz", "eval": "eval/ckpt_1/loss/*.npz", "export": "*.npz"}
        stored = sorted(workdir.glob(names[mode]))
    total = hashlib.sha256()
    for path in stored:
        total.update(_content(path))
    return total.hexdigest()


def _content(path: pathlib.Path) -> bytes:
    """The values in a file, without the times that archives note."""
    if path.suffix != ".npz":
        return path.read_bytes()
    with np.load(path, allow_pickle=False) as arrays:
        return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files))


def flip(path: pathlib.Path, rng: random.Random) -> None:
    """Flips one random bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def outcome(done: Done, workdir: pathlib.Path, mode: str, expected: str) -> str:
    """What became of a flip; "finding: ..." where it is none of the good ends."""
    if done.code is None:
        return "finding: too slow"
    if "Traceback" in done.error:
        return "finding: traceback"
    if done.code == 3:
        last = done.error.strip().splitlines()[-1]
        return "detected" if last.startswith("error: ") and last.endswith(".") else "finding: no sentence"
    if done.code != 0:
        return f"finding: exit code {done.code}"
    if output(workdir, mode) != expected:
        return "finding: silently other output"
    return "fell back" if list(workdir.glob("checkpoints*/*.damaged")) else "harmless"


def measure(flips: int, folder: pathlib.Path, seed: int, seconds: float = SECONDS) -> Iterator[dict[str, Any]]:
    """A dict for each flip: the file, the program, and what became of it."""
    rng, whole = random.Random(seed), folder / "whole"
    if (done := run(whole, "train", 20 * seconds)).code != 0:
        raise RuntimeError(f"the training failed: {done.error[-2000:]}")
    expected = {"train": output(whole, "train")}
    for mode in MODES:
        copy = pathlib.Path(shutil.copytree(whole, folder / f"undamaged_{mode}"))
        if (done := run(copy, mode, 20 * seconds)).code != 0:
            raise RuntimeError(f"{mode} failed: {done.error[-2000:]}")
        expected[mode] = output(copy, mode)
    files = [
        path.relative_to(whole)
        for checkpoint in ("checkpoints-meta/20", "checkpoints/1")
        for path in sorted((whole / checkpoint).rglob("*"))
        if path.is_file() and path.stat().st_size
    ]
    for number in range(flips):
        file, workdir = files[number % len(files)], folder / f"flip_{number}"
        mode = "train" if file.parts[0] == "checkpoints-meta" else MODES[number // len(files) % len(MODES)]
        shutil.copytree(whole, workdir)
        flip(workdir / file, rng)
        done = run(workdir, mode, seconds)
        found = outcome(done, workdir, mode, expected[mode])
        yield {"flip": number, "file": str(file), "program": mode, "outcome": found, "said": done.error[-300:]}
        if not found.startswith("finding"):
            shutil.rmtree(workdir)


def main() -> int:
    """Runs the flips and prints the results; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=500, help="number of flipped bits, each in a copy of its own")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bits")
    parser.add_argument("--folder", type=pathlib.Path, default=None, help="folder of the runs; temporary by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the time that a program may take")
    arguments = parser.parse_args()
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    folder = (arguments.folder or pathlib.Path(tempfile.mkdtemp(prefix="bit_flips_"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    forked.prepare()
    counts, by_program = collections.Counter[str](), collections.Counter[str]()
    for result in measure(arguments.flips, folder, arguments.seed, arguments.seconds):
        counts[result["outcome"]] += 1
        by_program[f"{result['program']}: {result['outcome']}"] += 1
        if result["outcome"].startswith("finding"):
            print(json.dumps(result), flush=True)
    print(
        json.dumps({"flips": counts.total(), "outcomes": dict(counts), "by program": dict(sorted(by_program.items()))})
    )
    return int(any(name.startswith("finding") for name in counts))


if __name__ == "__main__":
    sys.exit(main())
