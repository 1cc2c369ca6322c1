"""The programs as functions, and trained models, for scripts and notebooks; `main.py` calls the same functions."""

import pathlib

from ml_collections import ConfigDict

from programs.evaluate import evaluate as evaluate_run
from programs.evaluate import prepare as prepare_evaluation
from programs.model import Model, load
from programs.run import Run
from programs.train import FINISHED
from programs.train import prepare as prepare_training
from programs.train import train as train_run
from training.progress import NonFiniteLossError

__all__ = [
    "FINISHED",
    "Model",
    "NonFiniteLossError",
    "Run",
    "evaluate",
    "evaluate_run",
    "load",
    "train",
    "train_run",
]


def train(
    config: ConfigDict, workdir: str | pathlib.Path, *, allow_config_change: bool = False, tracker: str | None = None
) -> Run:
    """Trains to `training.n_iters` steps, from the newest intact checkpoint in the workdir if there is one; the run.

    The arguments are those of `train_run`, which trains a `Run` that you have made, such as one on other devices.
    Errors: ValueError, FileNotFoundError for the config and the data; RunError; the workdir stays intact.
    """
    run = Run(config, workdir)
    prepare_training(run)
    train_run(run, allow_config_change=allow_config_change, tracker=tracker)
    return run


def evaluate(config: ConfigDict, workdir: str | pathlib.Path, eval_folder: str = "eval") -> list[pathlib.Path]:
    """Evaluates checkpoints `eval.begin_ckpt` to `eval.end_ckpt`; the paths of their reports below `eval_folder`.

    The workdir may be a folder that `--mode=export` wrote. `evaluate_run` evaluates a `Run` that you have made.
    Errors: ValueError, FileNotFoundError for the config and the data; RunError.
    """
    return evaluate_run(prepare_evaluation(config, pathlib.Path(workdir)), eval_folder)
