"""The program sample, which answers a request by a task of the run's system; see `systems/requests/`.

A task checks everything that the user gave and returns a function, before anything is compiled; `execute` restores the
checkpoint, calls it, and writes `samples.png`, `samples.npz` and `record.json`.
"""

import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from configs import default
from core.files import write_arrays, write_json
from core.tables import nearest
from programs import restore_run
from programs.run import Run
from reports.provenance import provenance
from reports.sheets import write_png
from runtime.signals import report_on_signal
from systems.base import System
from systems.requests import options
from systems.requests.base import Request, RequestTask, SampleFn

PICTURE, ARRAYS, RECORD = FILES = ("samples.png", "samples.npz", "record.json")  # in the order of writing, each whole
OPTION_FLAGS = ("labels", "input", "mask", "num_samples", "measured", "temperature")  # flags that are options of tasks


def prepare(run: Run, request: Request) -> SampleFn:
    """Checks the request and builds what it needs. Errors: ValueError, one sentence, before anything is compiled."""
    run.system.open_guide()
    return task_of(run.system, request.task).prepare(run.system, request)


def task_of(system: System, name: str) -> RequestTask:
    """A task of a system. Errors: ValueError, one sentence, where it has no such task."""
    tasks, kind = system.requests, system.config.system
    if not tasks:
        raise ValueError(f"config.system = {kind!r} generates no samples; give the --workdir of another system.")
    if name not in tasks:
        raise ValueError(
            f"--task={name} is not known to config.system = {kind!r}; choose one of {', '.join(tasks)} "
            f"(nearest: {nearest(name, tasks)})."
        )
    return tasks[name]


def request_of(system: System, task: str, given: Mapping[str, str]) -> Request:
    """The request of a task with the options `given`, by flag; see `systems.requests.options.read`.

    Errors: ValueError, one sentence, for a task, an option or a value that does not exist.
    """
    chosen = task_of(system, task)
    for flag in given:
        having = [name for name, each in system.requests.items() if flag in options.names(each.request)]
        if having and task not in having:
            raise ValueError(f"--{flag} has no meaning for --task={task}; it belongs to {', '.join(having)}.")
    return options.read(chosen.request, task, given)


def execute(
    run: Run, request: Request, sample: SampleFn, *, number: int | None = None, output: str | None = None
) -> pathlib.Path:
    """Restores checkpoint `number`, by default the newest, samples, and writes three files; the folder they are in.

    Errors: CheckpointError where there is no such checkpoint.
    """
    asked = {**dataclasses.asdict(request), "number": number, "output": output}
    restored = restore_run.restore(run.workdir, number, run.devices.replicated)
    result = sample(restored.variables, restored.number)
    directory = folder(run.workdir, request.task, output)
    write_png(directory / PICTURE, result.picture)
    write_arrays(directory / ARRAYS, result.arrays)
    record = {
        "request": {name: str(v) if isinstance(v, pathlib.Path) else v for name, v in asked.items()},
        "checkpoint": restored.number,
        "step": restored.step,
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


def command(given: Any) -> Callable[[], None]:
    """--mode=sample. Errors: ValueError, FileNotFoundError, RunError for the request and the checkpoint."""
    directory, began = folder(given.workdir, given.task, given.output), time.time()
    with report_on_signal(lambda: remains(directory, began)):
        run = Run.of_checkpoint(given.config, given.workdir, given.number)
        request = request_of(run.system, given.task, given_options(given))
        sample_fn = prepare(run, request)

    def run_command() -> None:
        with report_on_signal(lambda: remains(directory, began)):
            print(f"-> {execute(run, request, sample_fn, number=given.number, output=given.output)}")

    return run_command


def given_options(given: Any) -> dict[str, str]:
    """The options of a request that a command line gives, by flag: `NAME` for a flag of its own, or `request.NAME`.

    Errors: ValueError for one that is given twice.
    """
    values = {name: given[name].value for name in OPTION_FLAGS if given[name].present}
    found = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in values.items()}
    for option in given.request:
        name, _, value = option.partition("=")
        if name in found or f"request.{name}" in found:
            raise ValueError(f"--request.{name} is given twice; give it once.")
        found[f"request.{name}"] = value
    return found
