"""The training program: the order of events, from the newest checkpoint to the last step."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from builders.devices import make_exchange
from builders.objective import loss_weights
from builders.optimizer import make_averaged, make_averages, make_ema, make_mask
from configs import default
from core.arrays import Array
from core.files import remove_stale, write_json, writing
from core.keys import RunKey, fold_in
from core.target import platform
from data.pipeline import Batches, examples_of_step, train_batches
from programs import start
from programs.device_errors import explaining
from programs.run import Run
from runtime.barrier import barrier
from runtime.compile_effort import compile_effort, effort_for
from runtime.devices import announce
from runtime.distributed import connect
from runtime.lock import workdir_lock
from runtime.signals import StopRequest
from systems.base import Generate
from training import trackers
from training.checkpoint import peek_config
from training.compile import Snapshot, Steps, TestLoss, compile_steps, make_snapshot, make_test_loss
from training.exchange import Exchange
from training.frozen import FROZEN
from training.loop import Trainer, TrainingData, Workdir, open_workdir
from training.model_folder import is_model_folder
from training.objectives.base import Variables, make_loss_fn
from training.progress import Progress
from training.resume import config_changes, resume
from training.settings import TrainSettings
from training.state import TrainState
from training.step import NOTHING, TrainStep, make_train_step
from training.tracking import Tracking

FINISHED = "finished.json"  # marks a run that has reached its last step
SAMPLES = "samples"  # the folder of the snapshots' grids


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What a run compiles; only the steps at once, the others when they are first called."""

    steps: Steps
    test_loss: TestLoss | None
    snapshot: Snapshot | None


def prepare(run: Run) -> None:
    """Opens the data, reads the guide of the snapshots' samples and checks the names of losses, parameters and runs.

    Warns of batches larger than the data set. Errors: ValueError, FileNotFoundError, NothingFitsError.
    """
    training = run.config.training
    start.check(run)
    num_examples = len(run.splits.named("train"))
    if training.batch_size > num_examples:
        logging.warning(
            "config.training.batch_size = %d is more than the %d examples to train on, so every batch repeats some; "
            "lower it to save time.",
            training.batch_size,
            num_examples,
        )
    if training.eval_freq:
        run.splits.named("test")
    if training.snapshot_sampling:
        run.system.open_guide()


def train(
    run: Run, stop: StopRequest | None = None, allow_config_change: bool = False, tracker: str | None = None
) -> None:
    """Trains to `training.n_iters` steps, from the newest intact checkpoint in the workdir if there is one.

    `stop`: polled after every dispatch. `allow_config_change`: continue although the config describes another model or
    other data. `tracker`: wandb, mlflow, trackio, or the import path of a function; see `training.trackers`.
    Errors: RunError (CheckpointError, NonFiniteLossError, ...), Stopped; the workdir stays intact.
    """
    is_first, settings = jax.process_index() == 0, settings_of(run.config.training)
    with (
        workdir_lock(run.workdir) if is_first else contextlib.nullcontext() as lock,
        open_workdir(run.workdir) as workdir,
        explaining(run) as memory,
        compile_effort(effort_for(platform(), run.config.training.compile_effort)),
    ):
        if is_first:  # only this process writes there
            for folder in (run.workdir, run.workdir / SAMPLES):
                remove_stale(folder, age=0.0)
        progress = _resume(run, workdir, allow_config_change)
        if progress.step >= settings.n_iters:
            logging.info("nothing to do: step %d of %d is reached", progress.step, settings.n_iters)
        else:
            if is_first:
                with writing(run.workdir / FINISHED):
                    (run.workdir / FINISHED).unlink(missing_ok=True)
            tracking = _tracking(run, tracker)
            compiled = compile_all(run, settings, progress.state, run.frozen_variables())
            memory.bytes = compiled.steps.memory_bytes
            barrier("compiled the training step")
            trainer = Trainer(
                settings,
                default.to_json(run.config),
                {"data": run.spec.to_json(), **run.stages.notes()},
                workdir,
                _training_data(run, settings),
                compiled.steps,
                compiled.test_loss,
                compiled.snapshot,
                resume=functools.partial(_resume, run, workdir, allow_config_change=True),
                stop=stop or StopRequest(),
                progress=progress,
                check_workdir=lock.check if lock is not None else lambda: None,
                tracking=tracking,
            )
            trainer.train()
        if is_first:  # also where nothing was left to do, and the file is gone or damaged
            write_json(run.workdir / FINISHED, {"step": max(progress.step, settings.n_iters)})


def _tracking(run: Run, tracker: str | None) -> Tracking | None:
    """What a tracker is sent, by the first process."""
    if tracker is None or jax.process_index() != 0:
        return None
    return Tracking(tracker, run.workdir, default.to_json(run.config))


def rehearse(run: Run, allow_config_change: bool = False) -> None:
    """Compares the config with that of the newest checkpoint, and traces a training step without compiling it.

    Errors: RunError and ValueError, as training would end with.
    """
    newest = run.workdir / "checkpoints-meta"
    if any(path.name.isdecimal() for path in newest.glob("*")):
        current = default.to_json(run.config)
        config_changes(run.workdir, peek_config(newest), current, allow_config_change)
    settings = settings_of(run.config.training)
    frozen = {name: part.variables for name, part in run.system.frozen.items()}
    batch = run.spec.zeros(settings.batch_size)
    jax.eval_shape(make_step(run, settings), run.abstract_state(), batch, {FROZEN: frozen} if frozen else {})


def settings_of(training: ConfigDict) -> TrainSettings:
    """The settings of the loop. A CPU takes single steps: XLA runs convolutions inside a loop slowly there."""
    settings = TrainSettings(**{field.name: training[field.name] for field in dataclasses.fields(TrainSettings)})
    return dataclasses.replace(settings, n_jitted_steps=1) if platform() == "cpu" else settings


def make_step(run: Run, settings: TrainSettings) -> TrainStep:
    """The training step `(state, batch) -> (state, metrics)` of a run, not yet compiled."""
    return make_train_step(
        make_loss_fn(run.system.objective, loss_weights(run.config)),
        run.tx,
        make_ema(run.config),
        run.schedule,
        fold_in(run.key, RunKey.TRAIN),
        averages=make_averages(run.config),
        skip_nonfinite=settings.on_nonfinite == "skip",
        num_parts=settings.grad_accumulation,
        trained=make_mask(run.config),
        averaged=make_averaged(run.config),
        exchange=_exchange(run),
    )


def _exchange(run: Run) -> Exchange | None:
    return make_exchange(run.config, run.devices, run.system.working_params)


def compile_all(run: Run, settings: TrainSettings, state: TrainState, frozen: Variables = NOTHING) -> Compiled:
    """Compiles the training step for a state, which may be abstract; prepares the test loss and the snapshots.

    `frozen`: the variables of earlier stages.
    """
    size = settings.batch_size // jax.process_count()
    batch = run.spec.zeros(size)
    test_key = fold_in(run.key, RunKey.TEST_LOSS)
    num_programs = 1 if _exchange(run) is None else run.devices.count
    return Compiled(
        compile_steps(make_step(run, settings), state, batch, settings, run.devices, frozen, num_programs),
        make_test_loss(
            run.system.objective, run.test, test_key, settings, run.devices, loss_weights(run.config), frozen
        )
        if settings.eval_freq
        else None,
        _snapshot(run, run.system.generate, frozen),
    )


def _snapshot(run: Run, generate: Generate | None, frozen: Variables) -> Snapshot | None:
    """Grids of samples; None where the config or the system has none."""
    num, system = run.config.training.snapshot_num_samples, run.system
    if generate is None or not run.config.training.snapshot_sampling:
        return None

    def sample(variables: Variables, number: int) -> dict[str, Array]:
        variables = {**run.devices.replicate_params(variables), **frozen}
        return generate(variables, system.sample_keys(number, 0, num), system.labels(0, num))

    return make_snapshot(sample, system.picture, run.workdir / SAMPLES, system.sampler_in_words)


def _training_data(run: Run, settings: TrainSettings) -> TrainingData:
    data, seed, size = run.config.data, run.config.seed, settings.batch_size

    def open_batches(step: int) -> Batches:
        return train_batches(
            run.train,
            seed=seed,
            batch_size=size,
            start_step=step,
            random_flip=data.random_flip,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_threads=data.num_threads,
            num_workers=data.num_workers,
        )

    def examples_of(step: int) -> np.ndarray:
        return examples_of_step(run.train, seed=seed, batch_size=size, step=step - 1)

    return TrainingData(open_batches, run.devices.shard_batch, examples_of)


def _resume(run: Run, workdir: Workdir, allow_config_change: bool) -> Progress:
    def first_state() -> TrainState:
        if jax.process_index() == 0:
            run.stages.keep()
        barrier("kept the weights of earlier stages")
        state = start.initial_state(run, run.frozen_variables())
        num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        logging.info("%s parameters, %d device(s)", f"{num_params:,}", run.devices.count)
        return state

    current = default.to_json(run.config)
    changes = functools.partial(config_changes, run.workdir, current=current, allow=allow_config_change)
    check_notes = functools.partial(run.stages.check, allow=allow_config_change)
    return resume(workdir.newest, first_state, run.abstract_state, changes, check_notes)


def command(given: Any) -> Callable[[], None]:
    """--mode=train. Errors: ValueError, FileNotFoundError for the config and the data, PeerError."""
    stop = StopRequest().install()
    if given.tracker is not None:
        trackers.find(given.tracker)
    connect(
        given.coordinator,
        given.num_processes,
        given.process_id,
        detect=given.distributed,
        timeout_seconds=given.peer_timeout,
    )
    announce(given.mode)
    if is_model_folder(pathlib.Path(given.workdir)):
        raise ValueError(
            f"--workdir={given.workdir} is an exported model, which has no training state; give another --workdir, and "
            "this one as --config.training.init_from to start from its parameters."
        )
    run = Run(given.config, given.workdir)
    prepare(run)
    if given.dry_run:
        rehearse(run, given.allow_config_change)
    return lambda: train(run, stop, given.allow_config_change, given.tracker)
