"""Where a training run starts: from its newest intact checkpoint, or from step 0."""

import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from configs import default
from core.errors import RunError
from runtime.barrier import barrier
from training.checkpoint import CheckpointError, Checkpoints
from training.progress import Progress, from_notes
from training.state import TrainState

Changes = dict[str, tuple[Any, Any]]  # by key: the stored value and the current one


class ConfigChangeError(RunError):
    """The config describes another model or other data than the checkpoint."""


def resume(
    store: Checkpoints,
    initial: Callable[[], TrainState],
    like: Callable[[], TrainState],
    changes_since: Callable[[dict[str, Any]], Changes],
    check_notes: Callable[[dict[str, Any]], None] = lambda notes: None,
) -> Progress:
    """The progress saved in the newest intact checkpoint of `store`; that of the `initial` state if it has none.

    `like`: shapes, dtypes and shardings of the state. `changes_since(stored config)`: what has changed since, which is
    logged. `check_notes(stored notes)` refuses what must not be resumed. Damaged checkpoints that are newer are renamed
    out of the way.
    Errors: CheckpointError where no checkpoint is intact; those of `changes_since` and `check_notes`.
    """
    numbers = store.numbers()
    if not numbers:
        return Progress(initial(), 0, 0)
    failures: dict[int, CheckpointError] = {}
    for number in reversed(numbers):
        try:
            config, notes = store.config(number), store.notes(number)
            changed = changes_since(config)
            check_notes(notes)
            state = store.restore(number, like())
        except CheckpointError as error:
            failures[number] = error
            continue
        for damaged, failure in failures.items():
            logging.warning("%s", failure)
            logging.warning("resuming from checkpoint %d instead; %d is set aside", number, damaged)
            if jax.process_index() == 0:
                store.set_aside(damaged)
        barrier(f"set aside before {number}")
        for key, (old, new) in changed.items():
            logging.warning("config.%s was %s and is now %s", key, old, new)
        logging.info("resuming from step %d", number)
        return from_notes(state, number, notes)
    raise failures[numbers[-1]]


def config_changes(workdir: pathlib.Path, stored: dict[str, Any], current: dict[str, Any], allow: bool) -> Changes:
    """The settings that differ between the config of a checkpoint and the current one, both as JSON.

    Errors: ConfigChangeError where they describe another model or other data, unless `allow`.
    """
    changed = default.differences(default.complete(stored), current)
    fixed = {key: values for key, values in changed.items() if default.is_fixed(key)}
    if fixed and not allow:
        listed = "; ".join(f"{key}: was {old}, is {new}" for key, (old, new) in fixed.items())
        raise ConfigChangeError(
            f"The run in {workdir} was started with another model or other data ({listed}); "
            "give it the old values, another --workdir, or --allow_config_change."
        )
    return changed
