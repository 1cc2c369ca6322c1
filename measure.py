"""The programs stats and metrics, and the metrics of an evaluation: samples compared with data, by features of both.

Features are rounds like everything that is evaluated, so that workers share them and a killed one costs one round.
"""

import functools
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from data.pipeline import eval_batch, num_rounds
from data.sources import Source
from evaluation import metrics, reference, report, sample_files
from evaluation.features import Extractor
from evaluation.moments import GroupedMoments
from evaluation.rounds import Arrays, Rounds, Task, Worker, run_task, write_atomically
from experiment import TASKS, Experiment

NUM_GROUPS = 2  # of the moments of a data set: their distance is the floor


def of_checkpoint(run: Experiment, number: int, directory: pathlib.Path, worker: Worker) -> dict[str, Any]:
    """The metrics of a checkpoint's samples, whose rounds are all there, and those of data against data."""
    extractor = run.extractor
    found = _gathered(_sample_features(run, number, directory, extractor), directory, worker)
    shared = directory.parent / f"features_{run.config.eval.reference_dataset}_{extractor.hash[:8]}"
    real = _gathered(_real_features(run, extractor), shared, worker)
    names = list(run.config.eval.metrics)
    figures = metrics.measure(found, real, names=names, seed=run.config.seed)
    floor = metrics.floor(real, names=names, seed=run.config.seed)
    for name, figure in figures.items():
        if figure.warning:
            logging.warning("%s: %s", name, figure.warning)
    return {
        "features": extractor.name,
        "features_hash": extractor.hash,
        "samples": {name: figure.to_dict() for name, figure in figures.items()},
        "data_against_data": {name: figure.to_dict() for name, figure in floor.items()},
    }


def write_statistics(run: Experiment, path: pathlib.Path) -> None:
    """Mean and covariance of the features of a data set, with what they are of; features are never all in memory."""
    source, extractor = _real(run), run.extractor
    moments: GroupedMoments | None = None
    for turn in range(num_rounds(len(source), run.config.eval.batch_size)):
        features = _of_round(run, source, extractor, turn)["features"]
        moments = moments or GroupedMoments(features.shape[1], num_groups=NUM_GROUPS)
        moments.add(features)
    assert moments is not None  # a source has examples
    reference.save(path, reference.statistics(moments.total(), _provenance(run, extractor)))
    logging.info("statistics of %d examples -> %s", len(source), path)


def of_files(run: Experiment, samples: pathlib.Path, stats: pathlib.Path | None) -> dict[str, Any]:
    """The metrics of anybody's samples, a folder of pictures or an .npz file, against the data or their statistics.

    Errors: ValueError for files that cannot be read, and for statistics of other features or data, by name.
    """
    extractor, source = run.extractor, _real(run)
    expected = None if stats is None else reference.load(stats, _provenance(run, extractor))
    found = _joined(extractor(levels) for levels in _levels(run, samples))
    names = list(run.config.eval.metrics)
    if expected is not None:
        names = [name for name in names if "real" not in metrics.METRICS[name].needs]
        figures = metrics.measure(found, reference=expected, names=names, seed=run.config.seed)
    else:
        turns = range(num_rounds(len(source), run.config.eval.batch_size))
        real = _joined(_of_round(run, source, extractor, turn) for turn in turns)
        figures = metrics.measure(found, real, names=names, seed=run.config.seed)
    return {
        "features": extractor.name,
        "features_hash": extractor.hash,
        "samples": {name: figure.to_dict() for name, figure in figures.items()},
        **report.provenance(),
    }


def _levels(run: Experiment, path: pathlib.Path) -> Iterator[np.ndarray]:
    """The grey levels of samples; pictures have 256 shades, whatever the data have."""
    scale = (run.test.num_levels - 1) / 255 if path.is_dir() else 1
    for images in sample_files.read_batches(path, run.config.eval.batch_size):
        if images.shape[1:] != run.test.shape:
            raise ValueError(f"{path} has images {images.shape[1:]}, but the data are {run.test.shape}.")
        yield np.round(images * scale).astype(np.uint8)


def _provenance(run: Experiment, extractor: Extractor) -> dict[str, Any]:
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


def _real(run: Experiment) -> Source:
    return run.train if run.config.eval.reference_dataset == "train" else run.test


def _of_round(run: Experiment, source: Source, extractor: Extractor, turn: int) -> Arrays:
    batch = eval_batch(source, turn, run.config.eval.batch_size)
    real = batch["mask"] > 0
    return {**extractor(batch["x"][real]), "index": batch["index"][real]}


def _real_features(run: Experiment, extractor: Extractor) -> Task:
    source, size = _real(run), run.config.eval.batch_size
    return Task("features", num_rounds(len(source), size), lambda turn: _of_round(run, source, extractor, turn), _count)


def _sample_features(run: Experiment, number: int, directory: pathlib.Path, extractor: Extractor) -> Task:
    """A round for each round of samples; those are read from their files."""
    samples = TASKS["samples"](run, number, None)
    rounds = Rounds(samples, directory)

    def features(turn: int) -> Arrays:
        drawn = rounds[turn]
        return {**extractor(drawn["samples"]), "index": drawn["index"]}

    return Task(f"features_{extractor.hash[:8]}", samples.num_rounds, features, _count)


def _count(rounds: Sequence[Arrays]) -> dict[str, float]:
    return {"num_examples": sum(len(arrays["index"]) for arrays in rounds)}


def _gathered(task: Task, directory: pathlib.Path, worker: Worker) -> dict[str, np.ndarray]:
    """Runs a task of features; all of them, in order, as arrays that stay on disk."""
    run_task(task, directory, worker)
    rounds = Rounds(task, directory)
    found: dict[str, np.ndarray] = {}
    for name in sorted(rounds[0].keys() - {"index"}):
        path = directory / task.name / f"{name}.npy"
        if not path.exists():
            write_atomically(path, functools.partial(_write_rows, rounds=rounds, name=name))
        found[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _write_rows(file: BinaryIO, rounds: Rounds, name: str) -> None:
    """An .npy file of the rows of all rounds, one round in memory at a time."""
    shape = (sum(len(arrays["index"]) for arrays in rounds), rounds[0][name].shape[1])
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for arrays in rounds:
        file.write(np.ascontiguousarray(arrays[name], "<f4").tobytes())


def _joined(parts: Iterator[Arrays]) -> dict[str, np.ndarray]:
    collected = list(parts)
    return {name: np.concatenate([part[name] for part in collected]) for name in collected[0].keys() - {"index"}}
