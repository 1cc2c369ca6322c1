"""The programs stats and metrics, and the metrics of an evaluation: samples compared with data by their features.

Features are computed in rounds like every evaluation: workers share them, and a killed worker costs one round.
"""

import hashlib
import json
import logging
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from core.errors import DamagedFileError
from core.files import read_json, write_json
from core.progress import each, phase
from data.pipeline import eval_batch, num_rounds
from data.readers.samples import read_batches
from data.stock import Source
from evaluation.features.base import Extractor
from evaluation.features.files import content_hash, gather, spool
from evaluation.metrics import reference, table
from evaluation.metrics.moments import GroupedMoments
from evaluation.rounds import Arrays, Rounds, Task, Worker
from evaluation.tasks.features import features_task
from programs.flags import path_of
from programs.run import Run
from reports import console
from reports.provenance import provenance
from reports.records import Column, Estimate, warnings

NUM_GROUPS = 2  # of the moments of a data set


def check(run: Run) -> None:
    """Tries the features on one example. Errors: ValueError if they are unavailable, or lack what a metric needs."""
    extractor = run.extractor
    found = extractor(_real(run).fetch(np.arange(1))["x"])
    missing = [name for name in run.config.eval.metrics if "logits" in table.METRICS[name].needs]
    if missing and "logits" not in found:
        raise ValueError(
            f"config.eval.metrics has {', '.join(missing)}, which needs logits, but the features {extractor.name!r} "
            "have none; leave it out, or set config.eval.features to a classifier or inception."
        )


def check_numbers(run: Run) -> None:
    """Errors: ValueError if there are too few samples for a metric, or too few data for the halves of its baseline."""
    num_samples, num_real = run.config.eval.num_samples, len(_real(run))
    for name in run.config.eval.metrics:
        fewest = table.METRICS[name].fewest
        halves = 2 * max(fewest, 2)
        if num_samples < fewest or num_real < halves:
            raise ValueError(
                f"config.eval.metrics has {name}, which takes at least {fewest} samples and {halves} examples of data, "
                f"but there are {num_samples} (config.eval.num_samples) and {num_real}; leave it out, or give more."
            )


def of_checkpoint(run: Run, number: int, directory: pathlib.Path, worker: Worker) -> dict[str, Any]:
    """The metrics of a checkpoint's samples, whose rounds are all done, and of real examples against real ones."""
    extractor = run.extractor
    found = gather(_sample_features(run, number, directory, extractor), directory, worker)
    shared = reference_folder(run, directory.parent, extractor)
    real = gather(_real_features(run, extractor), shared, worker)
    names = list(run.config.eval.metrics)
    measured = table.measure(found, real, names=names, seed=run.config.seed)
    return _result(extractor, measured) | {table.BASELINE: baseline(real, names, run.config.seed, shared)}


def columns(run: Run) -> list[Column]:
    """How the metrics of a report are presented."""
    return [column.below("metrics") for column in table.columns(run.config.eval.metrics)]


def write_statistics(run: Run, path: pathlib.Path) -> None:
    """Writes mean and covariance of a data set's features, which are never all in memory, with their provenance."""
    source, extractor = _real(run), run.extractor
    moments: GroupedMoments | None = None
    num = num_rounds(len(source), run.config.eval.batch_size)
    for turn in each(range(num), "features of the data", num, "round"):
        features = _of_round(run, source, extractor, turn)["features"]
        moments = moments or GroupedMoments(features.shape[1], num_groups=NUM_GROUPS)
        moments.add(features)
    assert moments is not None  # a source has examples
    reference.save(path, reference.statistics(moments.total(), _provenance(run, extractor)))
    logging.info("statistics of %d examples -> %s", len(source), path)


def of_files(run: Run, samples: pathlib.Path, stats: pathlib.Path | None) -> dict[str, Any]:
    """The metrics of any samples, a folder of images or an .npz file, against the data or statistics of data.

    Features are kept in the system's folder for temporary files (TMPDIR), 8 kB per image for 2048 features. Errors:
    ValueError for files that cannot be read, and for statistics of other features or data, by name.
    """
    extractor, source = run.extractor, _real(run)
    expected = None if stats is None else reference.load(stats, _provenance(run, extractor))
    names = list(run.config.eval.metrics)
    with (
        tempfile.TemporaryDirectory(prefix="features_") as first,
        tempfile.TemporaryDirectory(prefix="data_") as second,
    ):
        with phase("features of the samples"):
            found = spool((extractor(levels) for levels in read_levels(run, samples)), first)
        if expected is not None:
            names = [name for name in names if "real" not in table.METRICS[name].needs]
            measured = table.measure(found, reference=expected, names=names, seed=run.config.seed)
        else:
            num = num_rounds(len(source), run.config.eval.batch_size)
            turns = each(range(num), "features of the data", num, "round")
            real = spool((_of_round(run, source, extractor, turn) for turn in turns), second)
            measured = table.measure(found, real, names=names, seed=run.config.seed)
    result, shown = _result(extractor, measured), table.columns(names)
    for warning in warnings(result, shown):
        logging.warning(warning)
    return result | {"columns": [column.to_dict() for column in shown]} | provenance()


def read_levels(run: Run, path: pathlib.Path) -> Iterator[np.ndarray]:
    """Batches of samples from files, as levels of the data set; the range of image files is rescaled to them."""
    spec = run.spec
    if not spec.num_levels:
        raise ValueError(
            f"{path} has levels, but {run.config.data.dataset} has floats without levels, with which they cannot be "
            "compared; give data and samples on one scale."
        )
    for images in read_batches(path, run.config.eval.batch_size):
        if images.shape[1:] != spec.shape:
            raise ValueError(f"{path} has images {images.shape[1:]}, but the data are {spec.shape}.")
        scale = (spec.num_levels - 1) / np.iinfo(images.dtype).max if path.is_dir() else 1
        yield np.round(images * scale).astype(spec.dtype)


def reference_folder(run: Run, folder: pathlib.Path, extractor: Extractor) -> pathlib.Path:
    """The folder for the features of the data; its name depends on their provenance and on how rounds are divided."""
    key = {**_provenance(run, extractor), "num_examples": len(_real(run)), "batch_size": run.config.eval.batch_size}
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


def _result(extractor: Extractor, measured: Mapping[str, Estimate]) -> dict[str, Any]:
    """The metrics of samples as a report holds them, with the features that they are computed from."""
    estimates = {name: estimate.to_dict() for name, estimate in measured.items()}
    return {"features": extractor.name, "features_hash": extractor.hash, table.SAMPLES: estimates}


def _provenance(run: Run, extractor: Extractor) -> dict[str, Any]:
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


def _real(run: Run) -> Source:
    return run.splits.named(run.config.eval.reference_dataset)


def _of_round(run: Run, source: Source, extractor: Extractor, turn: int) -> Arrays:
    batch = eval_batch(source, turn, run.config.eval.batch_size)
    real = batch["counted"] > 0
    return {**extractor(batch["x"][real]), "index": batch["index"][real]}


def _real_features(run: Run, extractor: Extractor) -> Task:
    source = _real(run)
    turns = num_rounds(len(source), run.config.eval.batch_size)
    return features_task("features", len(source), turns, lambda turn: _of_round(run, source, extractor, turn))


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
    run, path = _compared(given), path_of(given, "stats")
    write_statistics(run, path)
    return lambda: None


def command(given: Any) -> Callable[[], None]:
    """--mode=metrics. Errors: ValueError, OSError for the config, the data, the features and the samples."""
    run, path = _compared(given), path_of(given, "samples")
    figures = of_files(run, path, pathlib.Path(given.stats) if given.stats else None)

    def show() -> None:
        if given.output:
            write_json(pathlib.Path(given.output) / "metrics.json", figures)
        print(console.figures(figures))

    return show


def _compared(given: Any) -> Run:
    """The run whose data are compared, its features tried on one example."""
    run = Run(given.config, given.workdir)
    check(run)
    return run
