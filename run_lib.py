"""The programs as functions, for scripts and notebooks; `main.py` calls the same ones."""

from programs.evaluate import evaluate
from programs.run import Run
from programs.train import FINISHED, train
from training.progress import NonFiniteLossError

__all__ = ["FINISHED", "NonFiniteLossError", "Run", "evaluate", "train"]
