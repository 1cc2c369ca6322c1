"""The program sample: unconditional and class-conditional samples, restoration, and latent codes.

A task checks everything that the user gave and returns a function, before anything is compiled; `execute` restores the
checkpoint, calls it, and writes `samples.png`, `samples.npz` and `record.json`.
"""

import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any

from builders import inverse
from configs import default
from core.files import write_arrays, write_json
from core.tables import choose
from programs import restore_run
from programs.run import Run
from reports.provenance import provenance
from reports.sheets import write_png
from runtime.signals import report_on_signal
from systems.diffusion import Diffusion
from systems.requests.base import Request, SampleFn
from systems.requests.generate import by_class, check_labels, unconditional
from systems.requests.latent import decoding, encoding, interpolation
from systems.requests.restore import restoration

PICTURE, ARRAYS, RECORD = FILES = ("samples.png", "samples.npz", "record.json")  # in the order of writing, each whole


def prepare(run: Run, request: Request) -> SampleFn:
    """Checks the request and builds what it needs. Errors: ValueError, one sentence, before anything is compiled."""
    task, system = choose("task", request.task, TASKS), run.system
    if not isinstance(system, Diffusion):
        raise ValueError(
            f"the network {run.config.model.name!r} is a classifier, which generates no samples; give a score model."
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
    check_labels(system, request)
    return task(system, request)


def execute(run: Run, request: Request, sample: SampleFn) -> pathlib.Path:
    """Restores the checkpoint, samples, and writes three files; the folder they are in.

    Errors: CheckpointError where there is no such checkpoint.
    """
    number, state = restore_run.restore(run.config, run.workdir, request.number, run.devices.replicated)
    result = sample(state.ema_params, number)
    directory = folder(run.workdir, request.task, request.output)
    write_png(directory / PICTURE, result.picture)
    write_arrays(directory / ARRAYS, result.arrays)
    record = {
        "request": dataclasses.asdict(request),
        "checkpoint": number,
        "step": int(state.step),
        "results": result.figures,
        "config": default.to_json(run.config),
        **provenance(),
    }
    write_json(directory / RECORD, record)
    logging.info(
        "%s: %s",
        request.task,
        ", ".join(f"{k} {v:.4g}" for k, v in result.figures.items() if isinstance(v, int | float)),
    )
    return directory


def folder(workdir: str | pathlib.Path, task: str, output: str | None) -> pathlib.Path:
    """Where the three files go."""
    return pathlib.Path(output) if output else pathlib.Path(workdir) / "sample" / task


def remains(directory: pathlib.Path, began: float) -> str:
    """What a command that began at `began`, in seconds since the epoch, leaves behind if it ends now, in words."""
    there = {path.name: path.stat().st_mtime >= began for path in map(directory.joinpath, FILES) if path.exists()}
    written = [name for name, is_new in there.items() if is_new]
    if len(written) == len(FILES):
        return f"{', '.join(FILES)} are whole in {directory}."
    if written:
        return f"of this command {directory} has only {', '.join(written)}; start the same command again."
    earlier = ", and what lies there is of an earlier command" if there else ""
    return f"nothing was written to {directory} yet{earlier}; start the same command again."


TASKS: dict[str, Callable[[Diffusion, Request], SampleFn]] = {
    "unconditional": unconditional,
    "class": by_class,
    **dict.fromkeys(inverse.OPERATORS, restoration),
    "interpolate": interpolation,
    "encode": encoding,
    "decode": decoding,
}


def command(given: Any) -> Callable[[], None]:
    """--mode= Errors: ValueError, FileNotFoundError, RunError for the request and the checkpoint."""
    request = request_of(given)
    directory, began = folder(given.workdir, request.task, request.output), time.time()
    with report_on_signal(lambda: remains(directory, began)):
        run = Run.of_checkpoint(given.config, given.workdir, request.number)
        sample_fn = prepare(run, request)

    def run_command() -> None:
        with report_on_signal(lambda: remains(directory, began)):
            print(f"-> {execute(run, request, sample_fn)}")

    return run_command


def request_of(given: Any) -> Request:
    """What the flags of mode sample ask for. Errors: ValueError for labels that are not numbers."""
    try:
        labels = tuple(int(label) for label in given.labels)
    except ValueError:
        raise ValueError(
            f"--labels={','.join(given.labels)}: class labels are given as numbers, such as --labels=3,7."
        ) from None
    return Request(
        task=given.task,
        input=given.input,
        mask=given.mask,
        labels=labels,
        num_samples=given.num_samples or (64 if given.task == "unconditional" else 8),
        measured=given.measured,
        temperature=given.temperature,
        output=given.output,
        number=given.number,
    )
