"""The program evaluate: the checkpoints of a run as they appear, their tasks in rounds, and a report for each."""

import contextlib
import errno
import itertools
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from configs import default
from core.errors import RunError
from core.files import append_json_line, damaged_file, locked, read_json, remove_stale, write_json
from core.outputs import check_folder
from evaluation import sample_files
from evaluation.rounds import Rounds, Worker, run_task, worker_of
from programs import metrics, restore_run
from programs.flags import source_of
from programs.run import Run
from programs.train import FINISHED
from reports import console, overview
from reports.provenance import provenance
from reports.records import TIMES, Column, flatten, read, write_report
from reports.sheets import to_uint8, write_gif, write_png
from training.checkpoint import CheckpointError, CheckpointMissingError
from training.log import write_evaluation

GRID = 100  # samples in the grid of a checkpoint
# What the system says of a disk that is full or read-only.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def prepare(config: ConfigDict, workdir: pathlib.Path) -> Run:
    """The run to evaluate, with the data of what is enabled opened and the features of metrics tried.

    The config is that of the first checkpoint to evaluate, if it exists already; otherwise it is `config`, which is
    checked against each checkpoint when it appears. Of a model that stands alone, its only checkpoint is evaluated.
    Errors: ValueError, FileNotFoundError, ConfigMismatchError.
    """
    if restore_run.is_alone(workdir):
        config = config.copy_and_resolve_references()
        config.eval.begin_ckpt = config.eval.end_ckpt = restore_run.about(workdir).number
    numbers = (config.eval.begin_ckpt, None)
    existing = [number for number in numbers if restore_run.has_checkpoint(workdir, number)]
    run = Run.of_checkpoint(config, workdir, existing[0]) if existing else Run(config, workdir)
    for name in run.system.enabled:
        run.system.evaluations[name](0, None)  # a task opens its data when it is made
    if run.config.eval.enable_metrics:
        metrics.check(run)
        metrics.check_numbers(run)
    return run


def evaluate(run: Run, eval_folder: str = "eval", worker: Worker = Worker()) -> list[pathlib.Path]:  # noqa: B008
    """Evaluates checkpoints `eval.begin_ckpt` to `eval.end_ckpt`, waiting for each to appear; the reports' paths.

    Results go to `workdir/eval_folder/ckpt_<number>/`; existing rounds are not computed again. Several workers
    share the rounds, each starting with its own. A worker that finds all rounds done writes the report, which is the
    same for every worker, and the overview of all reports. Errors: CheckpointMissingError for a checkpoint that does
    not appear, CheckpointError for one that cannot be read, RunError where files cannot be written; finished rounds
    are kept.
    """
    kept = restore_run.store_of(run.workdir)
    reports: list[pathlib.Path] = []
    logged: set[str] = set()
    for number in range(run.config.eval.begin_ckpt, run.config.eval.end_ckpt + 1):
        _wait_for(run, kept, number)
        restore_run.refuse_mismatch(run.config, default.from_json(kept.config(number)), run.workdir)
        restored = run.restore(number)
        folder = run.workdir / eval_folder
        with _writing(folder):
            reports.append(evaluate_checkpoint(run, restored, folder / f"ckpt_{number}", worker))
            best = overview.rebuild(folder)
            with locked(folder / overview.LOCK):
                write_evaluation(folder, read(folder))
        new = [warning for warning in console.warnings(reports[-1]) if warning not in logged]
        for warning in new:  # most are the same for every checkpoint
            logging.warning(warning)
        logged.update(new)
        print(console.summary(reports[-1]))
        print(f"  overview       {folder / 'report.html'}{f'  (best: {best})' if best else ''}")
    kept.close()
    return reports


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[None]:
    """Turns a full or read-only disk into one sentence. Errors: RunError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise RunError(
            f"{folder} cannot be written ({os.strerror(error.errno)}); finished rounds are kept: free some space or "
            "fix the permissions, and run the same command again."
        ) from error


def _wait_for(run: Run, kept: restore_run.Store, number: int) -> None:
    """Waits until checkpoint `number` is complete. Errors: CheckpointMissingError on a timeout or if training ended."""
    deadline = time.monotonic() + run.config.eval.wait_seconds
    logged = False
    while number not in (available := kept.numbers()):
        finished = (run.workdir / FINISHED).exists() and number not in kept.numbers()
        if finished or time.monotonic() > deadline:
            reason = "training has ended" if finished else f"waited {run.config.eval.wait_seconds:g} s{_silence(run)}"
            raise CheckpointMissingError(
                f"Checkpoint {number} is not in {kept.directory} ({reason}); found: {available or 'none'}: "
                "set config.eval.begin_ckpt and config.eval.end_ckpt."
            )
        if not logged:
            logging.info("waiting for checkpoint %d; found: %s", number, available or "none")
            logged = True
        time.sleep(1)


def _silence(run: Run) -> str:
    """How old the trainer's last line of metrics is, in words."""
    try:
        seconds = time.time() - (run.workdir / "metrics.jsonl").stat().st_mtime
    except FileNotFoundError:
        return ""
    return f"; the trainer's last line of metrics is {seconds:.0f} s old"


def evaluate_checkpoint(
    run: Run, restored: restore_run.Restored, directory: pathlib.Path, worker: Worker
) -> pathlib.Path:
    """Runs the tasks of one checkpoint and writes its report."""
    config = run.config
    _same_settings(run, directory)
    results: dict[str, Any] = {}
    columns: list[Column] = []
    number, step, variables = restored
    for name in run.system.enabled:
        with _timed(directory, name, worker):
            task = run.system.evaluations[name](number, variables)
            results[task.name] = run_task(task, directory, worker)
        columns += [column.below(task.name) for column in task.columns]
        shown = ", ".join(f"{key} {value:.6g}" for key, value in flatten(results[task.name]))
        logging.info("checkpoint %d  %s: %s", number, task.name, shown)
    if "samples" in results:
        write_samples(run, number, directory)
        write_real(run, directory.parent / overview.REAL)
    if config.eval.enable_metrics:
        with _timed(directory, "metrics", worker):
            results["metrics"] = metrics.of_checkpoint(run, number, directory, worker)
        columns += metrics.columns(run)
    remove_stale(directory)
    return write_report(
        directory,
        {
            "checkpoint": number,
            "step": step,
            "results": results,
            "columns": [column.to_dict() for column in columns],
            "grid": "samples.png" if "samples" in results else None,
            "subject": run.system.subject,
            "sampler": run.system.sampler_in_words if "samples" in results else "",
            "seed": config.seed,
            "config": default.to_json(config),
            **provenance(),
        },
    )


@contextlib.contextmanager
def _timed(directory: pathlib.Path, name: str, worker: Worker) -> Iterator[None]:
    """Adds a line to the file of times; reports hold no times, so that every worker writes the same one."""
    began = time.perf_counter()
    yield
    seconds = round(time.perf_counter() - began, 3)
    line = {"task": name, "worker": worker.index, "workers": worker.count, "seconds": seconds, "time": ended()}
    append_json_line(directory / TIMES, line)
    logging.info("%s: %.1f s", name, seconds)


def _same_settings(run: Run, directory: pathlib.Path) -> None:
    """Refuses to mix rounds of different settings in one folder. Errors: CheckpointError."""
    path, now = directory / "config.json", default.to_json(run.config)
    if not path.exists():
        write_json(path, now)
        return
    try:
        changed = default.differences(default.complete(read_json(path)), now)
    except (TypeError, AttributeError, LookupError) as error:
        raise damaged_file(path, "holds no config") from error
    changed = {key: values for key, values in changed.items() if default.changes_evaluation(key)}
    if changed:
        listed = "; ".join(f"{key}: was {old}, is {new}" for key, (old, new) in changed.items())
        raise CheckpointError(
            f"{directory} was started with other settings ({listed}); give another --eval_folder, or remove that one."
        )
    write_json(path, now)


def write_samples(run: Run, number: int, directory: pathlib.Path) -> None:
    """Writes the samples in the formats of `eval.sample_format`, and a grid of the first; existing files stay."""
    rounds = Rounds(run.system.evaluations["samples"](number, None), directory)
    npz, pictures, form = directory / "samples.npz", directory / "samples_png", run.config.eval.sample_format
    if form in ("npz", "both") and not npz.exists():
        sample_files.write_npz(npz, run.config.eval.num_samples, (arrays["samples"] for arrays in rounds))
    if form in ("png", "both") and not pictures.exists():
        with contextlib.suppress(FileExistsError):  # another worker was first
            sample_files.write_png_folder(
                pictures, (to_uint8(arrays["samples"], run.spec.num_levels) for arrays in rounds)
            )
    if "states" in (first := rounds[0]):
        write_gif(
            directory / "samples.gif",
            [run.system.picture(states) for states in np.moveaxis(first["states"][:GRID], 1, 0)],
        )
    images = itertools.chain.from_iterable(arrays["samples"] for arrays in rounds)
    write_png(directory / "samples.png", run.system.picture(np.stack(list(itertools.islice(images, GRID)))))


def write_real(run: Run, path: pathlib.Path) -> None:
    """Writes a grid of real examples beside which samples are looked at, unless it exists, or the data are missing."""
    if path.exists():
        return
    try:
        real = run.splits.named(run.config.eval.reference_dataset)
        chosen = np.linspace(0, len(real) - 1, min(len(real), GRID, run.config.eval.num_samples)).round().astype(int)
        write_png(path, run.system.picture(real.fetch(chosen)["x"]))
    except (ValueError, OSError) as error:  # an evaluation of samples alone needs no data
        logging.info("no real examples are shown beside the samples: %s", error)


def ended() -> str:
    """The time now, as reports show it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def command(given: Any) -> Callable[[], object]:
    """--mode=eval. Errors: ValueError, FileNotFoundError, RunError for the config, the data and the features."""
    worker, folder = worker_of(given.eval_worker, given.eval_workers), given.eval_folder
    if given.model and given.workdir:  # the reports of a model that stands alone go to the workdir
        folder = str(pathlib.Path(given.workdir).absolute() / folder)
    check_folder(source_of(given) / folder, f"--eval_folder={folder}")
    run = prepare(given.config, source_of(given))
    return lambda: evaluate(run, folder, worker)
