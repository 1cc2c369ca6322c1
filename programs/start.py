"""The state at step 0 of a run: initial variables, those of another run, and a start from data."""

import logging
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from builders.earlier import reference
from core.errors import ExitCode, RunError
from core.progress import phase
from data.pipeline import train_batches
from programs import restore_run
from programs.run import Run
from training.frozen import FROZEN
from training.objectives.base import Variables
from training.state import TrainState
from training.transfer import transfer

KEY = "training.init_from"


class NothingFitsError(RunError):
    """No parameter of the run that `training.init_from` names fits."""

    exit_code = ExitCode.USER_ERROR


def initial_state(run: Run, frozen: Variables) -> TrainState:
    """The state at step 0: `System.init`, then `training.init_from`, then `System.warm_start`.

    Errors: ValueError where the run that `training.init_from` names has no such checkpoint; NothingFitsError.
    """
    with phase("initializing the parameters"):
        variables = run.initial_variables()
    if run.config.training.init_from is not None:
        variables, summary = from_other_run(run, variables)
        logging.info("%s", summary)
    with phase("starting from data"):
        variables = run.system.warm_start({**variables, **frozen}, lambda num: first_batches(run, num))
    return run.state({name: value for name, value in variables.items() if name != FROZEN})


def check(run: Run) -> None:
    """Checks, without computing anything, the names in `training.loss_weights`, `optim.frozen` and `init_from`.

    Errors: ValueError, NothingFitsError.
    """
    variables = run.abstract_state().variables
    if run.config.training.loss_weights:
        frozen = {name: part.variables for name, part in run.system.frozen.items()}
        run.system.loss_names({**variables, FROZEN: frozen})
    if run.config.training.init_from is not None and not restore_run.has_any_checkpoint(run.workdir):
        from_other_run(run, variables)


def from_other_run(run: Run, variables: Variables) -> tuple[Variables, str]:
    """`variables`, which may be abstract, with all that fits of the run that `training.init_from` names, and how."""
    given = run.config.training.init_from
    source = restore_run.network_of(KEY, *reference(given))
    found = {name: value for name, value in source.variables.items() if name != FROZEN}
    variables, report = transfer(variables, jax.device_get(found))
    if not any(path.startswith("params/") for path in report.taken):
        raise NothingFitsError(
            f"config.{KEY} = {given} fits no parameter of this config ({report.summary()}); give the run of a network "
            "with the same modules and sizes."
        )
    return variables, f"config.{KEY} = {given}, checkpoint {source.number}: {report.summary()}"


def first_batches(run: Run, num: int) -> Iterator[dict[str, np.ndarray]]:
    """The whole batches of the first `num` training steps, for every process the same."""
    config, data = run.config, run.config.data
    options: dict[str, Any] = {"random_flip": data.random_flip, "num_threads": data.num_threads}
    with train_batches(run.train, seed=config.seed, batch_size=config.training.batch_size, **options) as batches:
        for _ in range(num):
            yield next(batches)
