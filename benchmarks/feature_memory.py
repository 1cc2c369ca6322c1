"""Memory that the statistics of many features need, with random features in round files like those of an evaluation.

    python -m benchmarks.feature_memory --num=50000 --features=2048 [--folder=DIR]

Prints a JSON line per stage: seconds, and the peak anonymous memory (RssAnon, which has no file behind it) above that
of the process before the first stage, beside the size of all features in single precision.
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
    """The current anonymous memory of the process."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def peak_of(work: Callable[[], Any]) -> tuple[Any, float, int]:
    """What `work` returns, its wall-clock seconds, and the peak anonymous memory while it runs, polled every 10 ms."""
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
    """Measures all stages and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=50_000, help="number of examples")
    parser.add_argument("--features", type=int, default=2048, help="features per example")
    parser.add_argument("--folder", type=pathlib.Path, default=None, help="where to put the temporary folder")
    arguments = parser.parse_args()
    num, width = arguments.num, arguments.features

    def extract(round_number: int) -> Arrays:
        rows = np.arange(round_number * ROUND, min(num, (round_number + 1) * ROUND))
        features = np.random.default_rng(round_number).standard_normal((len(rows), width), np.float32)
        return {"features": features, "index": rows}

    def streamed() -> Any:
        moments = GroupedMoments(width, num_groups=2)
        for start in range(0, num, ROUND):
            moments.add(gathered["features"][start : start + ROUND])
        return statistics(moments.total())

    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bare = anonymous_bytes()

        def measured(stage: str, work: Callable[[], Any]) -> Any:
            result, seconds, peak = peak_of(work)
            line = {"stage": stage, "num": num, "features": width, "seconds": round(seconds, 1)}
            line |= {"peak_mib": round((peak - bare) / MIB), "all_features_mib": round(4 * num * width / MIB)}
            print(json.dumps(line | {"bare_mib": round(bare / MIB)}), flush=True)
            return result

        task = features_task("features", num, -(-num // ROUND), extract)
        gathered = measured("rounds", lambda: gather(task, folder, Worker()))
        reference = measured("statistics", streamed)
        measured("FID", lambda: table.measure(gathered, reference=reference, names=["fid"]))


if __name__ == "__main__":
    main()
