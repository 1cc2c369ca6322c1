"""Experiment trackers: Weights & Biases, MLflow, Trackio, or a function of the user's, each opened for one run."""

import importlib.util
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from core.imports import import_object, is_import_path, named_by_user
from core.tables import nearest

PROJECT = "score-sde"  # WANDB_PROJECT, MLFLOW_EXPERIMENT_NAME and TRACKIO_PROJECT name another one


class Tracker(Protocol):
    """Where a run is sent to."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A line of the log of metrics."""
        ...

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """A uint8 image [H, W, C]."""
        ...

    def close(self) -> None:
        """Waits until everything is sent."""
        ...


Open = Callable[[str, pathlib.Path, Mapping[str, Any]], Tracker]  # (id of the run, workdir, config as JSON)


class Wandb:
    """Weights & Biases; `WANDB_MODE=offline` needs no server."""

    def __init__(self, run_id: str, workdir: pathlib.Path, config: Mapping[str, Any]):
        import wandb

        self._image: Callable[..., Any] = wandb.Image
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id,
            name=workdir.name,
            dir=str(workdir),
            config=dict(config),
            resume="allow",
            settings=wandb.Settings(console="off"),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row; lines of the same step are joined."""
        self._run.log(dict(metrics), step=step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """One image of the step."""
        self._run.log({name: self._image(image)}, step=step)

    def close(self) -> None:
        """Ends the run, which can be resumed."""
        self._run.finish()


class Mlflow:
    """MLflow; `MLFLOW_TRACKING_URI` is a server, a folder, or sqlite:///FILE."""

    def __init__(self, run_id: str, workdir: pathlib.Path, config: Mapping[str, Any]):
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._client, self._metric = MlflowClient(), Metric
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        found = self._client.search_runs([number], f"tags.workdir_id = '{run_id}'")
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            tags = {"workdir_id": run_id}
            self._run = self._client.create_run(number, tags=tags, run_name=workdir.name).info.run_id
            self._client.log_dict(self._run, dict(config), "config.json")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A value of each metric."""
        now = int(1000 * time.time())
        values = [self._metric(name, value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run, metrics=values)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """An artifact."""
        self._client.log_image(self._run, image.squeeze(-1) if image.shape[-1] == 1 else image, f"{name}_{step}.png")

    def close(self) -> None:
        """Ends the run, which can be resumed."""
        self._client.set_terminated(self._run)


class Trackio:
    """Trackio, which keeps runs in a local database."""

    def __init__(self, run_id: str, workdir: pathlib.Path, config: Mapping[str, Any]):
        import trackio

        self._trackio: Any = trackio
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        trackio.init(project=project, name=f"{workdir.name}-{run_id}", config=dict(config), resume="allow")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row."""
        self._trackio.log(dict(metrics), step=step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """One image of the step."""
        three = np.broadcast_to(image, (*image.shape[:2], 3))
        self._trackio.log({name: self._trackio.Image(np.ascontiguousarray(three))}, step=step)

    def close(self) -> None:
        """Ends the run, which can be resumed."""
        self._trackio.finish()


class Entry(NamedTuple):
    """How a tracker is opened, and after how many seconds it no longer loses what it got if the process is killed.

    settles: None where that is only so once it is closed; `Tracking.sync` then closes it, and opens it again.
    """

    open: Open
    settles: float | None = 0.0


TRACKERS: dict[str, Entry] = {
    "wandb": Entry(Wandb, None),  # keeps rows in memory; what it gets again, it drops by the step
    "mlflow": Entry(Mlflow),
    "trackio": Entry(Trackio, 2.0),  # writes twice a second
}


def find(name: str) -> Entry:
    """The tracker of this name, which is also that of its package, or import path.

    Errors: ValueError for an unknown name and a missing package.
    """
    if is_import_path(name):
        named_by_user(name)  # on the command line, or in Python
        return Entry(import_object("--tracker =", name, "function"))
    if name not in TRACKERS:
        raise ValueError(
            f"--tracker={name} is not known; choose one of {', '.join(TRACKERS)} or a function package.module:name "
            f"(nearest: {nearest(name, TRACKERS)})."
        )
    if importlib.util.find_spec(name) is None:
        raise ValueError(
            f"--tracker={name} needs the package {name}: install it with {sys.executable} -m pip install {name}."
        )
    return TRACKERS[name]
