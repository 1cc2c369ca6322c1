"""The programs by the names of --mode: from flags to a function that runs, checked before anything is compiled."""

import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from configs import default
from core.files import write_json
from evaluation.rounds import worker_of
from programs import convert, evaluate, inspect, metrics, restore_run, sample, train
from programs.run import Run
from programs.tasks.base import Request
from reports import console
from runtime.distributed import connect
from runtime.signals import StopRequest, report_on_signal
from training.checkpoint import CheckpointError, peek_config

Command = Callable[[], object]
STORED = ("eval", "sample", "export")  # programs that use the config of a checkpoint


def prepare(given: Any) -> Command:
    """The program that the flags `given` ask for. Errors: ValueError, OSError, RunError, one sentence each."""
    if given.workdir is None and given.mode != "inspect":
        raise ValueError(f"--mode={given.mode} needs --workdir=DIR, the folder of the run.")
    return PROGRAMS[given.mode](given)


def stored_config(argv: Sequence[str]) -> ConfigDict | None:
    """The config of the checkpoint that a command line uses, where it gives no --config; None where it needs one.

    Errors: CheckpointError where there is no such checkpoint.
    """
    mode, workdir, config, number, first = (
        _value(argv, name) for name in ("mode", "workdir", "config", "number", "config.eval.begin_ckpt")
    )
    if config is not None or mode not in STORED or workdir is None:
        return None
    number = first if mode == "eval" else number
    asked = int(number) if number is not None and number.isdecimal() else None
    folder = pathlib.Path(workdir) / restore_run.FOLDER
    try:
        return default.from_json(peek_config(folder, asked))
    except CheckpointError:
        if mode != "eval":
            raise
        return default.from_json(peek_config(folder))  # it is waited for; any other says what the model is


def _value(argv: Sequence[str], name: str) -> str | None:
    """The value of `--name=value` or `--name value`, the last one; None without."""
    found = None
    for k, arg in enumerate(argv[1:], start=1):
        flag, equals, value = arg.partition("=")
        if arg.startswith("-") and flag.lstrip("-") == name:
            found = value if equals else (argv[k + 1] if k + 1 < len(argv) else None)
    return found


def _train(given: Any) -> Command:
    stop = StopRequest().install()
    connect(
        given.coordinator,
        given.num_processes,
        given.process_id,
        detect=given.distributed,
        timeout_seconds=given.peer_timeout,
    )
    run = Run(given.config, given.workdir)
    train.prepare(run)
    return lambda: train.train(run, stop, given.allow_config_change)


def _evaluate(given: Any) -> Command:
    worker = worker_of(given.eval_worker, given.eval_workers)
    run = evaluate.prepare(given.config, pathlib.Path(given.workdir))
    return lambda: evaluate.evaluate(run, given.eval_folder, worker)


def _sample(given: Any) -> Command:
    request = request_of(given)
    directory, began = sample.folder(given.workdir, request.task, request.output), time.time()
    with report_on_signal(lambda: sample.remains(directory, began)):
        run = Run.of_checkpoint(given.config, given.workdir, request.number)
        sample_fn = sample.prepare(run, request)

    def command() -> None:
        with report_on_signal(lambda: sample.remains(directory, began)):
            print(f"-> {sample.execute(run, request, sample_fn)}")

    return command


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


def _inspect(given: Any) -> Command:
    workdir = pathlib.Path(given.workdir) if given.workdir else None
    figures = inspect.inspect(given.config, workdir)

    def command() -> None:
        print(inspect.table(figures))
        if workdir:
            for name in (inspect.FIGURES, inspect.PICTURE):
                print(f"-> {workdir / name}")

    return command


def _stats(given: Any) -> Command:
    run, path = _compared(given), _path(given, "stats")
    metrics.write_statistics(run, path)
    return lambda: None


def _metrics(given: Any) -> Command:
    run, path = _compared(given), _path(given, "samples")
    figures = metrics.of_files(run, path, pathlib.Path(given.stats) if given.stats else None)

    def command() -> None:
        if given.output:
            write_json(pathlib.Path(given.output) / "metrics.json", figures)
        print(console.figures(figures))

    return command


def _compared(given: Any) -> Run:
    """The run whose data are compared, its features tried on one example."""
    run = Run(given.config, given.workdir)
    metrics.check(run)
    return run


def _import(given: Any) -> Command:
    convert.import_checkpoint(given.config, pathlib.Path(given.workdir), _path(given, "checkpoint"))
    return lambda: None


def _export(given: Any) -> Command:
    workdir, path = pathlib.Path(given.workdir), _path(given, "checkpoint")
    convert.export_checkpoint(given.config, workdir, path, given.number, given.sigma_rel)
    return lambda: None


def _path(given: Any, name: str) -> pathlib.Path:
    """The path that a flag gives. Errors: ValueError where it is missing."""
    if not getattr(given, name):
        raise ValueError(f"--mode={given.mode} needs --{name}=PATH.")
    return pathlib.Path(getattr(given, name))


PROGRAMS: dict[str, Callable[[Any], Command]] = {
    "train": _train,
    "eval": _evaluate,
    "sample": _sample,
    "inspect": _inspect,
    "stats": _stats,
    "metrics": _metrics,
    "import": _import,
    "export": _export,
}
