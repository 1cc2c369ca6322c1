"""The programs: train and evaluate. The order of events and the input and output; no arithmetic."""

import json
import logging
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

import build
from configs import default
from data.pipeline import eval_batch, num_rounds, train_batches
from evaluation import report
from evaluation.rounds import Rounds, run_task
from experiment import LOSS, TASKS, TRAIN, Experiment
from sde.base import example_keys, fold
from training.checkpoint import CheckpointError, Checkpoints
from training.log import MetricsLog
from training.losses import make_loss_fn
from training.state import TrainState, fuse, make_train_step

FINISHED = "finished.json"  # the marker that training has ended


class NonFiniteLossError(RuntimeError):
    """Training diverged; the message names the steps and the checkpoint that is intact."""


# Training ---------------------------------------------------------------------------------------------------------


def train(run: Experiment) -> None:
    """Trains to `training.n_iters` steps, from the newest checkpoint in the workdir where there is one.

    Errors: CheckpointError, NonFiniteLossError; what lies in the workdir stays intact.
    """
    run.workdir.mkdir(parents=True, exist_ok=True)
    newest = Checkpoints(run.workdir / "checkpoints-meta", keep=1)
    kept = Checkpoints(run.workdir / "checkpoints")
    try:
        _train(run, newest, kept)
    finally:
        newest.close()
        kept.close()


def _train(run: Experiment, newest: Checkpoints, kept: Checkpoints) -> None:
    training = run.config.training
    state, step = _resume(run, newest)
    if step >= training.n_iters:
        logging.info("nothing to do: step %d of %d is reached", step, training.n_iters)
        return
    (run.workdir / FINISHED).unlink(missing_ok=True)
    advance, flops = _compile_steps(run, state)
    test_loss, snapshot = _compile_test_loss(run), _make_snapshot(run)
    batches = train_batches(
        run.train,
        seed=run.config.seed,
        batch_size=training.batch_size,
        start_step=step,
        random_flip=run.config.data.random_flip,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    pending: list[tuple[int, Any]] = []
    began, began_step, saved = time.perf_counter(), step, step
    with MetricsLog(run.workdir, first_step=step) as log:
        while step < training.n_iters:
            state, metrics, taken = advance(state, batches, step)
            step += taken
            pending.append((step, metrics))
            if step % training.log_freq and step != training.n_iters:
                continue
            means = _read(pending, saved)
            pending.clear()
            seconds = time.perf_counter() - began
            _log(run, log, step, means, (step - began_step) / seconds, flops)
            if training.eval_freq and (step % training.eval_freq == 0 or step == training.n_iters):
                loss = test_loss(state, step)
                log.write(step, {"test_loss": loss}, f"step {step}  test loss {loss:.5g}")
            if _due(step, training.snapshot_freq, training.n_iters):
                number = math.ceil(step / training.snapshot_freq)
                kept.save(number, state, default.to_json(run.config))
                snapshot(state, number, step, log)
            if _due(step, training.snapshot_freq_for_preemption, training.n_iters):
                # Last, so that a kill on the way here is made good by going through all of this again.
                newest.save(step, state, default.to_json(run.config))
                saved = step
            began, began_step = time.perf_counter(), step
    batches.close()
    report.write_json(run.workdir / FINISHED, {"step": step})


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _resume(run: Experiment, newest: Checkpoints) -> tuple[TrainState, int]:
    """The state to go on from and its step; a new one where there is no checkpoint."""
    numbers = newest.numbers()
    if not numbers:
        state = run.state()
        num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        logging.info("%s parameters, %d device(s)", f"{num_params:,}", run.devices.count)
        return state, 0
    changed = default.differences(newest.config(numbers[-1]), default.to_json(run.config))
    refused = {key: values for key, values in changed.items() if default.is_fixed(key)}
    if refused:
        listed = "; ".join(f"{key}: was {old}, is {new}" for key, (old, new) in refused.items())
        raise CheckpointError(
            f"The run in {run.workdir} was started with another model or other data ({listed}); "
            "give it the old values, or another --workdir."
        )
    for key, (old, new) in changed.items():
        logging.warning("config.%s was %s and is now %s", key, old, new)
    logging.info("resuming from step %d", numbers[-1])
    return newest.restore(numbers[-1], run.abstract_state()), numbers[-1]


def _compile_steps(run: Experiment, state: TrainState) -> tuple[Callable, float]:
    """`advance(state, batches, step) -> (state, metrics, steps taken)`, and the floating-point operations of a step.

    `training.n_jitted_steps` steps are one dispatch, except on a CPU and except for what is left at the end.
    """
    training = run.config.training
    train_step = make_train_step(
        make_loss_fn(run.per_example_loss),
        run.tx,
        build.ema(run.config),
        run.schedule,
        jax.random.fold_in(run.key, TRAIN),
    )
    local = training.batch_size // jax.process_count()
    example = {"x": np.zeros((local, *run.train.shape), np.uint8), "label": np.zeros((local,), np.int32)}
    began = time.perf_counter()
    lowered = jax.jit(train_step, donate_argnums=0).lower(state, run.split(example))
    flops = float((lowered.cost_analysis() or {}).get("flops", math.nan))
    single = lowered.compile()
    logging.info("compiled the training step in %.1f s", time.perf_counter() - began)
    num = _steps_per_dispatch(training.n_jitted_steps)
    several = jax.jit(fuse(train_step), donate_argnums=0)

    def advance(state: TrainState, batches: Iterator[dict], step: int) -> tuple[TrainState, Any, int]:
        to_boundary = training.log_freq - step % training.log_freq
        if num == 1 or min(to_boundary, training.n_iters - step) < num:
            return *single(state, run.split(next(batches))), 1
        stacked = jax.tree.map(lambda *a: np.stack(a), *[next(batches) for _ in range(num)])
        return *several(state, run.split(stacked, stacked=True)), num

    return advance, flops


def _steps_per_dispatch(asked: int) -> int:
    return asked if jax.default_backend() != "cpu" else 1


def _read(pending: list[tuple[int, Any]], saved: int) -> dict[str, float]:
    """Fetches the metrics of an interval from the device, once; their mean over its steps."""
    fetched = [(step, {k: np.ravel(v) for k, v in jax.device_get(metrics).items()}) for step, metrics in pending]
    for step, metrics in fetched:
        bad = ~np.isfinite(metrics["loss"])
        if bad.any():
            size = len(metrics["loss"])
            raise NonFiniteLossError(
                f"The loss became non-finite in step {step - size + 1 + int(np.argmax(bad))}, in the interval of steps "
                f"{fetched[0][0] - len(fetched[0][1]['loss']) + 1} to {fetched[-1][0]}; the checkpoint of step "
                f"{saved} is intact: lower config.optim.lr or config.optim.grad_clip and start the same command again."
            )
    return {name: float(np.concatenate([m[name] for _, m in fetched]).mean()) for name in fetched[0][1]}


def _log(run: Experiment, log: MetricsLog, step: int, means: dict[str, float], rate: float, flops: float) -> None:
    """One line of metrics. `rate`: steps per second since the last line; `flops`: of one step."""
    training = run.config.training
    left = (training.n_iters - step) / rate
    metrics = {**means, "images_per_second": rate * training.batch_size, "flops_per_second": rate * flops}
    log.write(
        step,
        metrics,
        f"step {step}/{training.n_iters}  loss {means['loss']:.5g}  grad norm {means['grad_norm']:.3g}  "
        f"lr {means['learning_rate']:.3g}  {metrics['images_per_second']:.0f} images/s  "
        f"{metrics['flops_per_second'] / 1e9:.1f} GFLOP/s  {_duration(left)} left",
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _compile_test_loss(run: Experiment) -> Callable[[TrainState, int], float]:
    """`loss(state, step)`: of the averaged parameters on a test batch that depends on the step alone."""
    size = run.config.training.batch_size
    mean = jax.jit(lambda params, keys, batch: (run.per_example_loss(params, keys, batch, None) * batch["mask"]).sum())

    def loss(state: TrainState, step: int) -> float:
        turn = step // run.config.training.eval_freq % num_rounds(run.test.num_examples, size)
        batch = eval_batch(run.test, turn, size)
        key = fold(fold(run.key, LOSS), step)
        return float(mean(state.ema_params, example_keys(key, size), run.split(batch))) / float(batch["mask"].sum())

    return loss


def _make_snapshot(run: Experiment) -> Callable[[TrainState, int, int, MetricsLog], None]:
    """`snapshot(state, number, step, log)`: a grid of samples of the averaged parameters."""
    num = run.config.training.snapshot_num_samples
    generate = run.generate(num)

    def snapshot(state: TrainState, number: int, step: int, log: MetricsLog) -> None:
        if not run.config.training.snapshot_sampling:
            return
        began = time.perf_counter()
        drawn = jax.device_get(generate(state.ema_params, run.sample_keys(number, 0, num)))
        picture = run.picture(drawn["samples"])
        path = run.workdir / "samples" / f"snapshot_{number}.png"
        report.write_png(path, picture)
        if "states" in drawn:
            report.write_gif(path.with_suffix(".gif"), run.frames(drawn["states"]))
        log.image(step, "samples", picture)
        seconds = time.perf_counter() - began
        logging.info("%d samples with %d evaluations in %.1f s -> %s", num, drawn["num_evals"], seconds, path)

    return snapshot


# Evaluation -------------------------------------------------------------------------------------------------------


def evaluate(run: Experiment, eval_folder: str = "eval") -> list[pathlib.Path]:
    """Evaluates checkpoints `eval.begin_ckpt` to `eval.end_ckpt`, waiting for those to come; the reports' paths.

    Everything lies in `workdir/eval_folder/ckpt_<number>/`; rounds that exist there are not computed again.
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
        reports.append(_evaluate_checkpoint(run, number, state, directory))
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


def _evaluate_checkpoint(run: Experiment, number: int, state: TrainState, directory: pathlib.Path) -> pathlib.Path:
    """Runs the tasks of one checkpoint and writes its report."""
    config = run.config
    _same_settings(run, directory)
    results: dict[str, Any] = {}
    for name, enabled in EVALUATIONS.items():
        if not config.eval[enabled]:
            continue
        began = time.perf_counter()
        results[name] = run_task(TASKS[name](run, number, state.ema_params), directory)
        shown = ", ".join(f"{key} {value:.6g}" for key, value in results[name].items())
        logging.info("checkpoint %d  %s: %s  (%.1f s)", number, name, shown, time.perf_counter() - began)
    if "samples" in results:
        _write_samples(run, number, directory)
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
    """All samples as `.npz`, and the first of them as a grid."""
    task = TASKS["samples"](run, number, None)
    rounds = Rounds(task, directory)
    samples = np.concatenate([arrays["samples"] for arrays in rounds])
    if "states" in (first := rounds[0]):
        report.write_gif(directory / "samples.gif", run.frames(first["states"][:100]))
    report.write_samples(directory / "samples.npz", samples)
    report.write_png(directory / "samples.png", run.picture(samples[:100]))


EVALUATIONS = {"loss": "enable_loss", "bits_per_dim": "enable_bpd", "samples": "enable_sampling"}
