"""The program sample, which answers a request by a task of the run's system; see `systems/requests/`.

A task checks everything that the user gave and returns a function, before anything is compiled; `execute` restores the
checkpoint, calls it, and writes `samples.png`, `samples.npz` and `record.json`, the tables of tasks that have some, and
with `--format=png` a folder with a file for each sample.
"""

import dataclasses
import logging
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

from configs import default
from core.files import write_arrays, write_json, write_text, writing
from core.outputs import check_folder
from core.tables import nearest
from evaluation.sample_files import write_png_folder
from programs.flags import source_of
from programs.run import Run
from reports.provenance import provenance
from reports.sheets import to_uint8, write_gif, write_png
from runtime.signals import report_on_signal
from systems.base import System
from systems.requests import options
from systems.requests.base import Request, RequestTask, SampleFn, SampleResult

PICTURE, ARRAYS, RECORD = FILES = ("samples.png", "samples.npz", "record.json")  # in the order of writing, each whole
SINGLE = "samples_png"  # with --format=png: a folder with each sample, as an evaluation calls it
FRAMES = "samples.gif"  # with sampling.trajectory: states along the way
FORMATS = ("npz", "png")
OPTION_FLAGS = (
    "labels",
    "input",
    "mask",
    "num_samples",
    "measured",
    "temperature",
    "do",
)  # flags that are options of tasks


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
    run: Run,
    request: Request,
    sample: SampleFn,
    *,
    number: int | None = None,
    output: str | None = None,
    form: str = "npz",
) -> pathlib.Path:
    """Restores checkpoint `number`, by default the newest, samples, and writes the files; the folder they are in.

    What is there is replaced; `refuse_earlier` says whether something is. Errors: CheckpointError where there is no
    such checkpoint; RunError where the files cannot be written.
    """
    asked = {**dataclasses.asdict(request), "number": number, "output": output}
    restored = run.restore(number)
    result = sample(restored.variables, restored.number)
    directory = folder(run.workdir, request.task, output)
    record = {
        "request": {name: str(v) if isinstance(v, pathlib.Path) else v for name, v in asked.items()},
        "checkpoint": restored.number,
        "step": restored.step,
        "results": result.figures,
        "sampler": run.system.sampler_in_words,
        "config": default.to_json(run.config),
        **provenance(),
    }
    with writing(directory):
        if (directory / SINGLE).exists():  # of another command
            shutil.rmtree(directory / SINGLE)
        (directory / FRAMES).unlink(missing_ok=True)
        if form == "png":
            _write_single(run, result, directory / SINGLE)
        write_png(directory / PICTURE, result.picture)
        write_arrays(directory / ARRAYS, result.arrays)
        if result.frames:
            write_gif(directory / FRAMES, result.frames)
        for name, text in result.tables.items():
            write_text(directory / f"{name}.csv", text)
        write_json(directory / RECORD, record)
    figures = (f"{k} {v:.4g}" for k, v in result.figures.items() if isinstance(v, int | float))
    logging.info("%s: %s", request.task, ", ".join([*filter(None, [run.system.sampler_in_words]), *figures]))
    return directory


def _write_single(run: Run, result: SampleResult, directory: pathlib.Path) -> None:
    """Each sample as a PNG, in the order of the arrays."""
    if result.samples is None:
        logging.warning("the task has no single samples, so that %s is not written", directory)
        return
    write_png_folder(directory, [to_uint8(result.samples, run.spec.num_levels)])


def check_format(system: System, form: str) -> None:
    """Errors: ValueError where samples are to be written as images, and are none."""
    if form != "npz" and not system.has_images:
        raise ValueError(
            f"--format={form} writes images, but {system.config.data.dataset} has examples of {system.spec.dtype} "
            f"{system.spec.shape}; leave it out."
        )


def refuse_earlier(directory: pathlib.Path) -> None:
    """Errors: ValueError where a folder has samples, which would be replaced."""
    if there := [name for name in (*FILES, FRAMES, SINGLE) if (directory / name).exists()]:
        raise ValueError(
            f"{directory} has {there[0]} of an earlier command; give another folder with --output=DIR, or --overwrite."
        )


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
        return f"of this command {directory} has only {', '.join(written)}; start it again with --overwrite."
    earlier = ", and what lies there is of an earlier command" if there else ""
    return f"nothing was written to {directory} yet{earlier}; start the same command again."


def command(given: Any) -> Callable[[], None]:
    """--mode=sample. Errors: ValueError, FileNotFoundError, RunError for the request and the checkpoint.

    Where the results go is tried first; those of an earlier command are only replaced with --overwrite.
    """
    directory, began = folder(given.workdir or given.model, given.task, given.output), time.time()
    if given.seed is not None:
        given.config.seed = given.seed
    with report_on_signal(lambda: remains(directory, began)):
        run = Run.of_checkpoint(given.config, source_of(given), given.number)
        request = request_of(run.system, given.task, given_options(given))
        check_format(run.system, given.format)
        check_folder(directory, str(directory) if given.output is None else f"--output={directory}")
        if not given.overwrite:
            refuse_earlier(directory)
        sample_fn = prepare(run, request)

    def run_command() -> None:
        with report_on_signal(lambda: remains(directory, began)):
            execute(run, request, sample_fn, number=given.number, output=str(directory), form=given.format)
            print(f"-> {directory / PICTURE} (arrays: {directory / ARRAYS})")

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
