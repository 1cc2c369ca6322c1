"""The program sample: images from a model, alone, by class, from measurements, or through latent codes.

A task checks everything that the user gave and returns a job, before anything is compiled; `execute` reads the
checkpoint, does the job, and writes `samples.png`, `samples.npz` and `record.json`.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from builders import inverse
from configs import default
from core.arrays import Array
from core.files import write_arrays, write_json
from core.keys import RunKey, fold_in, keys_at
from core.tables import choose
from programs import restore_run
from programs.experiment import Experiment
from programs.tasks.base import Request, SampleFn, SampleResult, batch_size, in_batches
from programs.tasks.latent import decoding, encoding, interpolation
from programs.tasks.restore import restoration
from reports.provenance import provenance
from reports.sheets import write_png

PICTURE, ARRAYS, RECORD = FILES = ("samples.png", "samples.npz", "record.json")  # in the order of writing, each whole


def prepare(run: Experiment, request: Request) -> SampleFn:
    """Checks the request and builds what it needs. Errors: ValueError, one sentence, before anything is compiled."""
    task = choose("task", request.task, TASKS)
    if run.is_classifier:
        raise ValueError(
            f"the network {run.config.model.name!r} is a classifier and draws no images; give a score model."
        )
    if request.num_samples < 1 or request.temperature < 0:
        raise ValueError(
            f"--num_samples={request.num_samples} and --temperature={request.temperature:g} were given; "
            "the first must be at least 1, the second not negative."
        )
    for given, flag, tasks in (
        (request.mask, "mask", inverse.MASKED),
        (request.labels, "labels", ("class", *inverse.OPERATORS, "interpolate", "encode", "decode")),
        (request.measured, "measured", tuple(inverse.OPERATORS)),
    ):
        if given and request.task not in tasks:
            raise ValueError(f"--{flag} has no meaning for --task={request.task}; it belongs to {', '.join(tasks)}.")
    _check_labels(run, request)
    return task(run, request)


def execute(run: Experiment, request: Request, job: SampleFn) -> pathlib.Path:
    """Reads the checkpoint, does the job and writes its three files; the folder they are in.

    Errors: CheckpointError where there is no such checkpoint.
    """
    number, state = restore_run.restore(run.config, run.workdir, request.number, run.devices.replicated)
    drawn = job(state.ema_params, number)
    directory = folder(run.workdir, request.task, request.output)
    write_png(directory / PICTURE, drawn.picture)
    write_arrays(directory / ARRAYS, drawn.arrays)
    record = {
        "request": dataclasses.asdict(request),
        "checkpoint": number,
        "step": int(state.step),
        "results": drawn.figures,
        "config": default.to_json(run.config),
        **provenance(),
    }
    write_json(directory / RECORD, record)
    logging.info(
        "%s: %s",
        request.task,
        ", ".join(f"{k} {v:.4g}" for k, v in drawn.figures.items() if isinstance(v, int | float)),
    )
    return directory


def folder(workdir: str | pathlib.Path, task: str, output: str | None) -> pathlib.Path:
    """Where the three files go."""
    return pathlib.Path(output) if output else pathlib.Path(workdir) / "sample" / task


def remains(directory: pathlib.Path, began: float) -> str:
    """What a command that began at `began`, in seconds since the epoch, leaves if it ends now, in words."""
    there = {path.name: path.stat().st_mtime >= began for path in map(directory.joinpath, FILES) if path.exists()}
    written = [name for name, is_new in there.items() if is_new]
    if len(written) == len(FILES):
        return f"{', '.join(FILES)} are whole in {directory}."
    if written:
        return f"of this command {directory} has only {', '.join(written)}; start the same command again."
    earlier = ", and what lies there is of an earlier command" if there else ""
    return f"nothing was written to {directory} yet{earlier}; start the same command again."


def _unconditional(run: Experiment, request: Request) -> SampleFn:
    return functools.partial(_generated, run, None, request.num_samples, None)


def _by_class(run: Experiment, request: Request) -> SampleFn:
    if not run.guide.num_labels:
        raise ValueError(
            f"--task=class needs a model that knows classes, and this one knows none: {_get_classes(run)}."
        )
    asked = request.labels or tuple(range(run.guide.num_labels))
    labels = np.repeat(np.array(asked, np.int32), request.num_samples)
    return functools.partial(_generated, run, labels, len(labels), request.num_samples)


def _generated(
    run: Experiment, labels: np.ndarray | None, num: int, columns: int | None, params: Any, number: int
) -> SampleResult:
    """`num` samples, of the classes `labels` [num] where there are any; keys are those of an evaluation's samples."""
    size = batch_size(run, num)
    compiled = run.generate()

    def draw(rows: np.ndarray) -> dict[str, Array]:
        keys = keys_at(fold_in(fold_in(run.key, RunKey.SAMPLE), number), rows)
        return compiled(params, *run.spread((keys, None if labels is None else jnp.asarray(labels[rows]))))

    found = in_batches(draw, num, size)
    arrays = {"arr_0": found["samples"]} | ({} if labels is None else {"labels": labels})
    sheet = run.picture(found["samples"][:100] if columns is None else found["samples"], columns)
    return SampleResult(sheet, arrays, {"num_samples": num, "num_evals": found["num_evals"]})


def _check_labels(run: Experiment, request: Request) -> None:
    num = run.guide.num_labels
    for label in request.labels:
        if not 0 <= label < num:
            known = f"there are the classes 0 to {num - 1}"
            what = known if num else f"this model knows no classes: {_get_classes(run)}"
            raise ValueError(f"--labels has the class {label}, but {what}.")


def _get_classes(run: Experiment) -> str:
    """How to come by a model that knows the classes of these data, as an advice."""
    dataset, num = run.config.data.dataset, run.train.num_classes
    if num < 2:
        return (
            f"{dataset} has none to learn; give data with classes, such as a folder with a sub-folder for each, and "
            "train again with --config.model.num_labels, their number"
        )
    return (
        f"train again, in another --workdir, with --config.model.num_labels={num}, the classes of {dataset}, or train "
        "a classifier (model.name = 'wideresnet') and sample with --config.sampling.guidance=classifier and its folder "
        "as --config.sampling.guide_workdir"
    )


TASKS: dict[str, Callable[[Experiment, Request], SampleFn]] = {
    "unconditional": _unconditional,
    "class": _by_class,
    **dict.fromkeys(inverse.OPERATORS, restoration),
    "interpolate": interpolation,
    "encode": encoding,
    "decode": decoding,
}
