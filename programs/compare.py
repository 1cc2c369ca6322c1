"""The program metrics: samples from files compared with data, with other files, or with statistics of data."""

import functools
import hashlib
import json
import logging
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from configs import default
from core.files import write_json
from core.outputs import check_folder
from core.progress import each
from data.fields import Field, labeled
from data.pipeline import num_rounds
from data.readers.samples import describe, read_batches
from data.spec import DataSpec
from evaluation.features.files import spool
from evaluation.metrics import reference, table
from evaluation.metrics.reference import Statistics
from programs import metrics
from programs.flags import path_of
from programs.run import DataRun
from reports import console
from reports.provenance import provenance
from reports.records import warnings

LEVELS = 256  # at which two folders are compared: published features are of images of 8 bits


def of_files(
    run: DataRun, samples: pathlib.Path, stats: pathlib.Path | None = None, real: pathlib.Path | None = None
) -> dict[str, Any]:
    """The metrics of samples from files; see `prepare`."""
    return prepare(run, samples, stats, real)()


def prepare(
    run: DataRun, samples: pathlib.Path, stats: pathlib.Path | None = None, real: pathlib.Path | None = None
) -> Callable[[], dict[str, Any]]:
    """The metrics of samples, a folder of images or an .npz file, against data, `real` files or statistics of data.

    With `stats` there is no baseline, which needs examples of data. Features are kept in the system's folder for
    temporary files (TMPDIR), 8 kB per image for 2048 features. Errors: ValueError, before features are computed, for
    files that cannot be read, for too few images, for figures that statistics do not give, and for statistics of other
    features or data; the function that is returned raises it for an image whose pixels are damaged.
    """
    expected = None if stats is None else _statistics(run, stats, run.config.eval.metrics)
    check_files(run, samples, None if expected else real, with_data=expected is None)
    return functools.partial(_compared, run, samples, expected, stats, real)


def _compared(
    run: DataRun,
    samples: pathlib.Path,
    expected: Statistics | None,
    stats: pathlib.Path | None,
    real: pathlib.Path | None,
) -> dict[str, Any]:
    names, seed, extractor = list(run.config.eval.metrics), run.config.seed, run.extractor
    given = {"samples_path": samples, "statistics": stats}
    with (
        tempfile.TemporaryDirectory(prefix="features_") as first,
        tempfile.TemporaryDirectory(prefix="data_") as second,
    ):
        found = spool(map(extractor, _counted(run, samples, "features of the samples")), first)
        if expected is not None:
            result = metrics.result(run, table.measure(found, reference=expected, names=names, seed=seed))
        else:
            data = spool(_real_features(run, real), second)
            result = metrics.result(run, table.measure(found, data, names=names, seed=seed))
            floor = table.baseline(data, names=names, seed=seed)
            result[table.BASELINE] = {name: estimate.to_dict() for name, estimate in floor.items()}
    result |= {name: str(path) for name, path in given.items() if path is not None}
    if real is not None:
        result |= {"compared_with": str(real), "split": "all of it"}
    shown = metrics.columns_of(run)
    for warning in warnings(result, shown):
        logging.warning(warning)
    return result | {
        "columns": [column.to_dict() for column in shown],
        "config": default.to_json(run.config),
        **provenance(),
    }


def check_files(run: DataRun, samples: pathlib.Path, real: pathlib.Path | None, with_data: bool) -> None:
    """Reads the headers of all files. Errors: ValueError for another size than the data, and for too few images."""
    limit = run.config.data.max_pixels
    num, shape = describe(samples, limit)
    if shape != run.spec.shape:
        what = f"those of {real} are" if real else "the data are"
        raise ValueError(f"{samples} has images {shape}, but {what} {run.spec.shape}.")
    there = (describe(real, limit).num, str(real)) if real else metrics.num_real(run) if with_data else None
    metrics.check_enough(run.config.eval.metrics, (num, str(samples)), there)


def _statistics(run: DataRun, path: pathlib.Path, names: Sequence[str]) -> Statistics:
    """The statistics in a file. Errors: ValueError if a metric needs examples; see `evaluation.metrics.reference`."""
    impossible = [name for name in names if "real" in table.METRICS[name].needs]
    if impossible:
        possible = "".join(f"'{name}'," for name in names if name not in impossible) or "'fid',"
        raise ValueError(
            f"config.eval.metrics has {', '.join(impossible)}, for which features of real examples are needed, but "
            f"--stats={path} has their mean and covariance alone; leave out --stats, or give "
            f'--config.eval.metrics="({possible})".'
        )
    return reference.load(path, metrics.provenance_of(run))


def _real_features(run: DataRun, real: pathlib.Path | None) -> Iterable[Mapping[str, np.ndarray]]:
    """Features of the files `real`, or of the data."""
    if real is not None:
        return map(run.extractor, _counted(run, real, "features of the reference"))
    num = num_rounds(metrics.num_real(run)[0], run.config.eval.batch_size)
    return map(functools.partial(metrics.of_round, run), each(range(num), "features of the data", num, "round"))


def _counted(run: DataRun, path: pathlib.Path, name: str) -> Iterable[np.ndarray]:
    """`read_levels`, with its progress."""
    num = describe(path, run.config.data.max_pixels).num
    return each(read_levels(run, path), name, num_rounds(num, run.config.eval.batch_size), "round")


def read_levels(run: DataRun, path: pathlib.Path) -> Iterator[np.ndarray]:
    """Batches of samples from files, as levels of the data set; the range of image files is rescaled to them."""
    spec = run.spec
    if not spec.num_levels:
        raise ValueError(
            f"{path} has levels, but {run.config.data.dataset} has floats without levels, with which they cannot be "
            "compared; give data and samples on one scale."
        )
    for images in read_batches(path, run.config.eval.batch_size, run.config.data.max_pixels):
        if images.shape[1:] != spec.shape:
            raise ValueError(f"{path} has images {images.shape[1:]}, but the data are {spec.shape}.")
        if path.is_file():
            _check_scale(path, int(images.max()), spec.num_levels)
        scale = (spec.num_levels - 1) / np.iinfo(images.dtype).max if path.is_dir() else 1
        yield np.round(images * scale).astype(spec.dtype)


def _check_scale(path: pathlib.Path, largest: int, num_levels: int) -> None:
    """Errors: ValueError for arrays whose largest value shows that they are on another scale than the data."""
    if largest >= num_levels or num_levels > LEVELS or (largest == 1 and num_levels > 2):
        raise ValueError(
            f"{path} has uint8 values up to {largest}, but the data have levels 0 to {num_levels - 1}; write the "
            "samples as these levels, or give a folder of PNG files, whose range is rescaled."
        )


def against_files(config: Any, workdir: str, real: pathlib.Path) -> DataRun:
    """The images in `real` as data, all of them, of their own size, in place of the data of the config."""
    _, shape = describe(real, config.data.max_pixels)
    config.data.dataset = f"folder:{real}"
    run = DataRun(config, workdir, DataSpec(labeled(Field(shape, "uint8", LEVELS))))
    metrics.check_extractor(run, next(iter(read_batches(real, 1, config.data.max_pixels))))
    return run


def folder_of(given: Any, config: Mapping[str, Any]) -> pathlib.Path:
    """Where the report goes: --output, or a folder of the workdir whose name depends on what is compared, and how."""
    if given.output:
        return pathlib.Path(given.output)
    compared = [
        str(pathlib.Path(path).absolute()) if path else "" for path in (given.samples, given.stats, given.reference)
    ]
    name = hashlib.sha256(json.dumps([compared, config], sort_keys=True).encode()).hexdigest()[:8]
    return pathlib.Path(given.workdir) / "metrics" / f"{pathlib.Path(given.samples).stem}-{name}"


def command(given: Any) -> Callable[[], None]:
    """--mode=metrics. Errors: ValueError, OSError for the config, the data, the features and the samples."""
    samples = path_of(given, "samples")
    stats, real = (pathlib.Path(path) if path else None for path in (given.stats, given.reference))
    if stats and real:
        raise ValueError(f"--stats={stats} and --reference={real} are two things to compare with; give one of them.")
    run = against_files(given.config, given.workdir, real) if real else metrics.data_of(given)
    path = folder_of(given, default.to_json(run.config)) / "metrics.json"
    check_folder(path.parent, f"--output={given.output}" if given.output else str(path.parent))
    compute = prepare(run, samples, stats, real)

    def show() -> None:
        with metrics.damaged():
            figures = compute()
        write_json(path, figures)
        print(console.figures(figures))
        print(f"-> {path}")

    return show
