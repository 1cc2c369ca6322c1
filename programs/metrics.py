"""The metrics of an evaluation, samples compared with data by their features, and the program stats.

Features are computed in rounds like every evaluation: workers share them, and a killed worker costs one round.
"""

import contextlib
import hashlib
import json
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from core.errors import DamagedFileError, ExitCode, RunError
from core.files import read_json, write_json
from core.outputs import check_file
from core.progress import each
from data.pipeline import eval_batch, num_rounds
from data.stock import Source
from evaluation.features.base import Extractor
from evaluation.features.files import content_hash, gather
from evaluation.metrics import reference, table
from evaluation.metrics.moments import GroupedMoments
from evaluation.rounds import Arrays, Rounds, Task, Worker
from evaluation.tasks.features import features_task
from programs.flags import path_of
from programs.run import DataRun, Run
from reports.records import Column, Estimate

NUM_GROUPS = 2  # of the moments of a data set


def check(run: DataRun) -> None:
    """Tries the features on one example. Errors: ValueError if they are unavailable, or lack what a metric needs."""
    check_extractor(run, _real(run).fetch(np.arange(1))["x"])


def check_extractor(run: DataRun, example: np.ndarray) -> None:
    """Tries the features on `example` [1, ...]; see `check`."""
    extractor = run.extractor
    found = extractor(example)
    missing = [name for name in run.config.eval.metrics if "logits" in table.METRICS[name].needs]
    if missing and "logits" not in found:
        raise ValueError(
            f"config.eval.metrics has {', '.join(missing)}, which needs logits, but the features {extractor.name!r} "
            "have none; leave it out, or set config.eval.features to a classifier or inception."
        )


def check_numbers(run: Run) -> None:
    """Errors: ValueError if there are too few samples for a metric, or too few data for the halves of its baseline."""
    given = run.config.eval.num_samples, "config.eval.num_samples"
    check_enough(run.config.eval.metrics, given, num_real(run))


def num_real(run: DataRun) -> tuple[int, str]:
    """The number of examples of data that samples are compared with, and which they are."""
    return len(_real(run)), f"{run.config.data.dataset}, {run.config.eval.reference_dataset}"


def check_enough(names: Sequence[str], samples: tuple[int, str], real: tuple[int, str] | None) -> None:
    """`samples`, `real`: numbers and where they come from; no `real` where there are only statistics.

    Errors: ValueError if there are too few for one of the metrics `names`, or for the halves of its baseline.
    """
    for name in names:
        fewest = table.METRICS[name].fewest
        halves = 2 * max(fewest, 2) if real else 0
        if samples[0] < fewest or (real and real[0] < halves):
            wanted = f"{fewest} samples" + (f" and {halves} examples of data" if real else "")
            there = f"{samples[0]} ({samples[1]})" + (f" and {real[0]} ({real[1]})" if real else "")
            raise ValueError(
                f"config.eval.metrics has {name}, which takes at least {wanted}, but there are {there}; leave it out, "
                "or give more."
            )


def of_checkpoint(run: Run, number: int, directory: pathlib.Path, worker: Worker) -> dict[str, Any]:
    """The metrics of a checkpoint's samples, whose rounds are all done, and of real examples against real ones."""
    extractor = run.extractor
    found = gather(_sample_features(run, number, directory, extractor), directory, worker)
    shared = reference_folder(run, directory.parent, extractor)
    real = gather(_real_features(run, extractor), shared, worker)
    names = list(run.config.eval.metrics)
    measured = table.measure(found, real, names=names, seed=run.config.seed)
    return result(run, measured) | {table.BASELINE: baseline(real, names, run.config.seed, shared)}


def columns(run: Run) -> list[Column]:
    """How the metrics of a report are presented."""
    return [column.below("metrics") for column in columns_of(run)]


def columns_of(run: DataRun) -> tuple[Column, ...]:
    """The columns of metrics by the features of the config."""
    return table.columns(run.config.eval.metrics, run.extractor.called, run.extractor.hash)


def write_statistics(run: DataRun, path: pathlib.Path) -> None:
    """Writes mean and covariance of a data set's features, which are never all in memory, with their provenance."""
    source, extractor = _real(run), run.extractor
    moments: GroupedMoments | None = None
    num = num_rounds(len(source), run.config.eval.batch_size)
    for turn in each(range(num), "features of the data", num, "round"):
        features = of_round(run, turn)["features"]
        moments = moments or GroupedMoments(features.shape[1], num_groups=NUM_GROUPS)
        moments.add(features)
    assert moments is not None  # a source has examples
    reference.save(path, reference.statistics(moments.total(), {**extractor.origin, **provenance_of(run)}))
    logging.info("statistics of %d examples -> %s", len(source), path)


def reference_folder(run: Run, folder: pathlib.Path, extractor: Extractor) -> pathlib.Path:
    """The folder for the features of the data; its name depends on their provenance and on how rounds are divided."""
    key = {**provenance_of(run), "num_examples": len(_real(run)), "batch_size": run.config.eval.batch_size}
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
    return folder / f"features_{run.config.eval.reference_dataset}_{name}"


def baseline(real: Mapping[str, np.ndarray], names: Sequence[str], seed: int, folder: pathlib.Path) -> dict[str, Any]:
    """Metrics of real examples against real ones, computed once for all checkpoints: `folder` keeps them by a hash."""
    inputs = f"{content_hash(real)} {list(names)} {seed}"
    path = folder / f"floor_{hashlib.sha256(inputs.encode()).hexdigest()[:16]}.json"
    try:
        return read_json(path)
    except (FileNotFoundError, DamagedFileError):  # it is computed again
        measured = table.baseline(real, names=names, seed=seed)
    write_json(path, {name: estimate.to_dict() for name, estimate in measured.items()})
    return read_json(path)


def result(run: DataRun, measured: Mapping[str, Estimate]) -> dict[str, Any]:
    """The metrics of samples as a report holds them, with the features and the data that they are computed from."""
    estimates = {name: estimate.to_dict() for name, estimate in measured.items()}
    compared = {"compared_with": run.config.data.dataset, "split": run.config.eval.reference_dataset}
    features = {"features": run.extractor.name, "features_hash": run.extractor.hash, **run.extractor.origin}
    return {**features, **compared, table.SAMPLES: estimates}


def provenance_of(run: DataRun) -> dict[str, Any]:
    """What the statistics of features depend on; they are compared only where all of it is equal."""
    extractor = run.extractor
    data = run.config.data
    published = {"image_size": data.image_size, "num_channels": data.num_channels}
    return {
        "features": extractor.name,
        "features_hash": extractor.hash,
        "dataset": data.dataset,
        "category": data.category,
        "split": run.config.eval.reference_dataset,
        **({"shape": list(data.shape)} if data.shape else published),
    }


def _real(run: DataRun) -> Source:
    return run.splits.named(run.config.eval.reference_dataset)


def of_round(run: DataRun, turn: int) -> Arrays:
    """Features of the data in a round, with their indices."""
    batch = eval_batch(_real(run), turn, run.config.eval.batch_size)
    real = batch["counted"] > 0
    return {**run.extractor(batch["x"][real]), "index": batch["index"][real]}


def _real_features(run: Run, extractor: Extractor) -> Task:
    source = _real(run)
    turns = num_rounds(len(source), run.config.eval.batch_size)
    return features_task("features", len(source), turns, lambda turn: of_round(run, turn))


def _sample_features(run: Run, number: int, directory: pathlib.Path, extractor: Extractor) -> Task:
    """A round for each round of samples, which are read from their files."""
    samples = run.system.evaluations["samples"](number, None)
    rounds = Rounds(samples, directory)

    def features(turn: int) -> Arrays:
        arrays = rounds[turn]
        return {**extractor(arrays["samples"]), "index": arrays["index"]}

    name = f"features_{extractor.hash[:8]}"
    return features_task(name, run.config.eval.num_samples, samples.num_rounds, features)


def stats_command(given: Any) -> Callable[[], None]:
    """--mode=stats. Errors: ValueError, OSError for the config, the data and the features."""
    path = path_of(given, "stats")
    check_file(path, f"--stats={path}")
    run = data_of(given)

    def write() -> None:
        with damaged():
            write_statistics(run, path)

    return write


class DamagedDataError(RunError):
    """Data or samples turned out to be unreadable while they were read."""

    exit_code = ExitCode.USER_ERROR


@contextlib.contextmanager
def damaged() -> Iterator[None]:
    """Turns what is wrong with data into an error of the command. Errors: DamagedDataError."""
    try:
        yield
    except RunError:
        raise
    except ValueError as error:
        raise DamagedDataError(str(error)) from error


def data_of(given: Any) -> DataRun:
    """The data that a command compares samples with, the features tried on one example."""
    run = DataRun(given.config, given.workdir)
    check(run)
    return run
