"""The programs: train and evaluate. The order of events and the input and output; no arithmetic."""

import json
import logging
import pathlib
import time
from typing import Any

import numpy as np

import measure
from configs import default
from evaluation import report
from evaluation.rounds import Rounds, Worker, run_task
from experiment import TASKS, Experiment
from progress import NonFiniteLossError
from run_train import FINISHED, train
from training.checkpoint import CheckpointError, Checkpoints
from training.state import TrainState

__all__ = ["FINISHED", "NonFiniteLossError", "evaluate", "train"]

# Evaluation -------------------------------------------------------------------------------------------------------


def evaluate(run: Experiment, eval_folder: str = "eval", worker: Worker = Worker()) -> list[pathlib.Path]:  # noqa: B008
    """Evaluates checkpoints `eval.begin_ckpt` to `eval.end_ckpt`, waiting for those to come; the reports' paths.

    Everything lies in `workdir/eval_folder/ckpt_<number>/`; rounds that exist there are not computed again. Several
    workers share them, each with its own first; whoever finds all rounds done writes the report, the same for all.
    Errors: CheckpointError for a checkpoint that does not come or cannot be read.
    """
    if not run.workdir.is_dir():
        raise CheckpointError(f"--workdir={run.workdir} does not exist; give the folder of a training run.")
    kept = Checkpoints(run.workdir / "checkpoints")
    reports = []
    for number in range(run.config.eval.begin_ckpt, run.config.eval.end_ckpt + 1):
        _wait_for(run, kept, number)
        state = kept.restore(number, run.abstract_state())
        directory = run.workdir / eval_folder / f"ckpt_{number}"
        reports.append(_evaluate_checkpoint(run, number, state, directory, worker))
        print(report.summary(reports[-1]))
    kept.close()
    return reports


def _wait_for(run: Experiment, kept: Checkpoints, number: int) -> None:
    """Returns once checkpoint `number` is complete; an error where the training has ended, or after the time-out."""
    deadline = time.monotonic() + run.config.eval.wait_seconds
    told = False
    while number not in (available := kept.numbers()):
        finished = (run.workdir / FINISHED).exists() and number not in kept.numbers()
        if finished or time.monotonic() > deadline:
            reason = "training has ended" if finished else f"waited {run.config.eval.wait_seconds:g} s"
            raise CheckpointError(
                f"Checkpoint {number} is not in {kept.directory} ({reason}); there are {available or 'none'}: "
                "set config.eval.begin_ckpt and config.eval.end_ckpt."
            )
        if not told:
            logging.info("waiting for checkpoint %d; there are %s", number, available or "none")
            told = True
        time.sleep(1)


def _evaluate_checkpoint(
    run: Experiment, number: int, state: TrainState, directory: pathlib.Path, worker: Worker
) -> pathlib.Path:
    """Runs the tasks of one checkpoint and writes its report."""
    config = run.config
    _same_settings(run, directory)
    results: dict[str, Any] = {}
    for name, enabled in EVALUATIONS.items():
        if not config.eval[enabled]:
            continue
        began = time.perf_counter()
        task = TASKS[name](run, number, state.ema_params)
        results[task.name] = run_task(task, directory, worker)
        shown = ", ".join(f"{key} {value:.6g}" for key, value in results[task.name].items())
        logging.info("checkpoint %d  %s: %s  (%.1f s)", number, task.name, shown, time.perf_counter() - began)
    if "samples" in results:
        _write_samples(run, number, directory)
    if config.eval.enable_metrics:
        results["metrics"] = measure.of_checkpoint(run, number, directory, worker)
    return report.write_report(
        directory,
        {
            "checkpoint": number,
            "step": int(state.step),
            "results": results,
            "seed": config.seed,
            "config": default.to_json(config),
            **report.provenance(),
        },
    )


def _same_settings(run: Experiment, directory: pathlib.Path) -> None:
    """Refuses to mix the rounds of two settings in one folder."""
    path, now = directory / "config.json", default.to_json(run.config)
    if not path.exists():
        report.write_json(path, now)
        return
    changed = default.differences(json.loads(path.read_text(encoding="utf-8")), now)
    changed = {key: values for key, values in changed.items() if default.changes_evaluation(key)}
    if changed:
        listed = "; ".join(f"{key}: was {old}, is {new}" for key, (old, new) in changed.items())
        raise CheckpointError(
            f"{directory} was begun with other settings ({listed}); give another --eval_folder, or remove that one."
        )
    report.write_json(path, now)


def _write_samples(run: Experiment, number: int, directory: pathlib.Path) -> None:
    """All samples as `.npz`, and the first of them as a picture."""
    task = TASKS["samples"](run, number, None)
    rounds = Rounds(task, directory)
    samples = np.concatenate([arrays["samples"] for arrays in rounds])
    if "states" in (first := rounds[0]):
        report.write_gif(directory / "samples.gif", run.frames(first["states"][:100]))
    report.write_samples(directory / "samples.npz", samples)
    report.write_png(directory / "samples.png", run.picture(samples[:100]))


EVALUATIONS = {"loss": "enable_loss", "bits_per_dim": "enable_bpd", "samples": "enable_sampling"}
