"""The programs as functions, and trained models, for scripts and notebooks; `main.py` calls the same functions."""

from programs.evaluate import evaluate
from programs.model import Model, load
from programs.run import Run
from programs.train import FINISHED, train
from training.progress import NonFiniteLossError

__all__ = ["FINISHED", "Model", "NonFiniteLossError", "Run", "evaluate", "load", "train"]
