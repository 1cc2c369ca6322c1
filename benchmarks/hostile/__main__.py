"""Gives hostile files to the programs that read such files.

    python -m benchmarks.hostile [--seed=0] [--share=1] [--only=TEXT] [--folder=DIR] [--list]

Each kind of file is made from the seed, and read by `main.py` with its command line, in a process forked from one that
has imported it. The end is one of

    refused    exit code 2 or 3, and one sentence that names the file
    read       exit code 0, where a kind may be read: what is good of it is used, or the damage does no harm

and everything else is a finding: another exit code, a traceback, a sentence without the file, more than 10 seconds,
more than a gigabyte of memory beyond what a good file takes, a program that is started where a good file starts none, a
file that is written outside. Prints JSON lines, one for each finding and a summary. The exit code is 1 if there are
findings. --share=3 takes a third of the kinds, chosen by the seed.
"""

import argparse
import collections
import functools
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
from benchmarks.hostile import arrays, pictures, tables, tars, zips
from benchmarks.hostile.kinds import CACHE, IMAGES, MODEL, NETWORK, PICTURES, TRAINED, USES, Kind
from benchmarks.hostile.table import KINDS

SECONDS, MEMORY = 10.0, 2**30  # that a program may take more than with a good file
PATIENCE = 60.0  # seconds after which a program is ended
LONGEST = 1500  # characters of a sentence
SMALL = [
    "training.n_iters=2", "training.batch_size=4", "training.log_freq=1", "training.snapshot_freq=2",
    "training.snapshot_freq_for_preemption=2", "training.eval_freq=0", "training.snapshot_sampling=False",
    f"model.name={NETWORK}", "sampling.num_steps=2",
]  # fmt: skip


def good(shared: pathlib.Path, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """A file for each use that is as it should be."""
    folder.mkdir()
    makers = {
        "npy": ("a.npy", arrays.content(arrays.saved(arrays.X))),
        "npz": ("a.npz", arrays.content(arrays.archive(x=arrays.X))),
        "zip": ("a.zip", zips.zipped({f"{number}.png": tars.png(8, number) for number in range(8)})),
        "wds": ("a.tar", tars.shard()),
        "hf": ("a.parquet", lambda path, rng: tables.table(path)),
        "cifar10": ("a.tar.gz", tars.compressed(tars.BINARY)),
        "tfrecords": ("a.tfrecords", tables.records()),
        "input": ("a.npy", arrays.content(arrays.saved(arrays.IMAGES))),
        "mask": ("a.npy", arrays.content(arrays.saved(np.ones((8, 8), bool)))),
        "samples": ("a.npz", arrays.content(arrays.archive(arr_0=arrays.IMAGES))),
        "stats": ("a.npz", arrays.content(arrays.archive(**arrays.VALID_STATS))),
        "encoded": ("codes", arrays.encoded()),
    }
    found = {"folder": shared / PICTURES, "cache": shared / CACHE, "model": shared / MODEL, "workdir": shared / TRAINED}
    for use, (name, make) in makers.items():
        found[use] = folder / f"{use}_{name}"
        make(found[use], random.Random(0))
    return found


def prepare(shared: pathlib.Path) -> None:
    """What the uses need: a trained network, as a workdir and as a model; images; samples."""
    shared.mkdir(parents=True)
    pictures.beside(tars.png(8))(shared / PICTURES, random.Random(0))
    np.savez(shared / "samples.npz", arr_0=arrays.IMAGES)
    np.save(shared / "mask.npy", np.ones((8, 8), bool))
    workdir, settings = shared / TRAINED, [f"--config.{setting}" for setting in SMALL]
    train = ["--mode=train", f"--config={IMAGES}", f"--workdir={workdir}", "--cpu_devices=1", *settings]
    export = ["--mode=export", f"--workdir={workdir}", f"--checkpoint={shared / MODEL}", f"--allow_code={NETWORK}"]
    for words in (train, export):
        done = forked.run(["main.py", *words], shared / "log", 10 * PATIENCE)
        if done.code != 0:
            raise RuntimeError(f"{words[0]} failed: {done.error[-2000:]}")


def run(kind_use: str, path: pathlib.Path, shared: pathlib.Path, log: pathlib.Path, seconds: float) -> Done:
    """Lets the program of a use read a file."""
    return forked.run(["main.py", *USES[kind_use](path, shared)], log, seconds)


def outcome(kind: Kind, path: pathlib.Path, done: Done, usual: Done) -> str:
    """What became of a file; "finding: ..." where it is none of the good ends. usual: with a good file."""
    if done.code is None:
        return "finding: no end"
    if "Traceback" in done.error:
        return "finding: traceback"
    if more := set(done.started) - set(usual.started):
        return f"finding: {', '.join(sorted(more))}"
    if done.peak_bytes > usual.peak_bytes + MEMORY:
        return f"finding: {(done.peak_bytes - usual.peak_bytes) / 2**30:.1f} GiB"
    if done.cpu_seconds > usual.cpu_seconds + SECONDS:
        return f"finding: {done.cpu_seconds:.0f} s"
    if done.code == 0:
        return "read" if kind.may_be_read else "finding: was read"
    if done.code not in (2, 3):
        return f"finding: exit code {done.code}"
    last = done.error.strip().splitlines()[-1] if done.error.strip() else ""
    if not last.startswith("error: ") or (kind.named or path.name) not in last or len(last) > LONGEST:
        return "finding: no sentence"
    return "refused"


def measure(names: list[str], folder: pathlib.Path, seed: int) -> Iterator[dict[str, Any]]:
    """A dict for each kind: what became of its file, and what it took."""
    shared = folder / "shared"
    prepare(shared)
    usual = dict[str, Done]()
    for use, path in good(shared, folder / "good").items():
        usual[use] = run(use, path, shared, folder / "log", 5 * PATIENCE)
        if usual[use].code != 0:
            raise RuntimeError(f"a good file was refused ({use}): {usual[use].error[-2000:]}")
    for use, other in (("import", "input"), ("inception", "samples"), ("tfds", "npy")):
        usual.setdefault(use, usual[other])  # the good files of these are large
    for name in names:
        kind = KINDS[name]
        place = shared / f"kind_{sorted(KINDS).index(name)}"
        place.mkdir()
        before = _files(shared)
        path = place / kind.file
        forked.apart(functools.partial(kind.make, path, random.Random(f"{seed} {name}")))
        done = run(kind.use, path, shared, folder / "log", PATIENCE)
        found = outcome(kind, path, done, usual[kind.use])
        if not found.startswith("finding") and (pathlib.Path("executed").exists() or _files(shared) - before):
            found = "finding: wrote a file"
        yield {
            "kind": name, "outcome": found, "code": done.code, "seconds": round(done.seconds, 1),
            "cpu_seconds": round(done.cpu_seconds, 1), "said": done.error[-400:],
            "MiB": round((done.peak_bytes - usual[kind.use].peak_bytes) / 2**20),
        }  # fmt: skip
        shutil.rmtree(place)


def _files(shared: pathlib.Path) -> set[pathlib.Path]:
    """What lies beside the hostile files, where a name that leads outside would end."""
    return {path for path in (*shared.glob("*"), *shared.parent.glob("*")) if not path.name.startswith("compared")}


def main() -> int:
    """Makes the files and prints the results; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of the files, and of their choice")
    parser.add_argument("--share", type=int, default=1, help="one in how many kinds is taken")
    parser.add_argument("--only", default="", help="a text in the names of the kinds that are taken")
    parser.add_argument("--folder", type=pathlib.Path, default=None, help="folder of the files; temporary by default")
    parser.add_argument("--all", action="store_true", help="print a line for each file, not only for findings")
    arguments = parser.parse_args()
    names = [name for name in KINDS if arguments.only in name]
    chosen = set(random.Random(arguments.seed).sample(names, -(-len(names) // arguments.share)))
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    with tempfile.TemporaryDirectory(prefix="hostile_") as temporary:
        folder = (arguments.folder or pathlib.Path(temporary) / "files").absolute()
        folder.mkdir(parents=True)
        forked.prepare()
        counts, slowest, largest = collections.Counter[str](), 0.0, 0
        for result in measure([name for name in names if name in chosen], folder, arguments.seed):
            counts[result["outcome"]] += 1
            slowest, largest = max(slowest, result["cpu_seconds"]), max(largest, result["MiB"])
            if arguments.all or result["outcome"].startswith("finding"):
                print(json.dumps(result), flush=True)
    findings = sum(count for name, count in counts.items() if name.startswith("finding"))
    figures = {"files": counts.total(), "findings": findings, "outcomes": dict(counts)}
    print(json.dumps({**figures, "slowest: CPU seconds": slowest, "largest: MiB beyond a good file": largest}))
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
