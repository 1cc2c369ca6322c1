"""Memory that the statistics of many features take: random ones, in files of rounds as an evaluation leaves them.

    python -m benchmarks.feature_memory --num=50000 --features=2048 [--folder=DIR]

Prints a JSON line for each stage: seconds, and the most anonymous memory (RssAnon: that which cannot be given back to
the disk) above that of the bare program, beside the bytes that all features would take in single precision.
"""

import argparse
import json
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from evaluation.features.files import gather
from evaluation.metrics import table
from evaluation.metrics.moments import GroupedMoments
from evaluation.metrics.reference import statistics
from evaluation.rounds import Arrays, Worker
from evaluation.tasks.features import features_task

ROUND = 1000
MIB = 2**20


def anonymous_bytes() -> int:
    """What the process holds now that no file backs."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def peak_of(work: Callable[[], Any]) -> tuple[Any, float, int]:
    """What `work` returns, its seconds, and the most anonymous memory while it runs, looked at every 10 ms."""
    peak, done = anonymous_bytes(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, anonymous_bytes())

    watcher, began = threading.Thread(target=watch), time.perf_counter()
    watcher.start()
    try:
        result = work()
    finally:
        done.set()
        watcher.join()
    return result, time.perf_counter() - began, peak


def main() -> None:
    """Prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--folder", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    num, width = arguments.num, arguments.features

    def extract(turn: int) -> Arrays:
        rows = np.arange(turn * ROUND, min(num, (turn + 1) * ROUND))
        drawn = np.random.default_rng(turn).standard_normal((len(rows), width), np.float32)
        return {"features": drawn, "index": rows}

    def streamed() -> Any:
        moments = GroupedMoments(width, num_groups=2)
        for start in range(0, num, ROUND):
            moments.add(found["features"][start : start + ROUND])
        return statistics(moments.total())

    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bare = anonymous_bytes()

        def told(stage: str, work: Callable[[], Any]) -> Any:
            result, seconds, peak = peak_of(work)
            line = {"stage": stage, "num": num, "features": width, "seconds": round(seconds, 1)}
            line |= {"peak_mib": round((peak - bare) / MIB), "all_features_mib": round(4 * num * width / MIB)}
            print(json.dumps(line | {"bare_mib": round(bare / MIB)}), flush=True)
            return result

        task = features_task("features", num, -(-num // ROUND), extract)
        found = told("rounds", lambda: gather(task, folder, Worker()))
        real = told("statistics", streamed)
        told("FID", lambda: table.measure(found, reference=real, names=["fid"]))


if __name__ == "__main__":
    main()
