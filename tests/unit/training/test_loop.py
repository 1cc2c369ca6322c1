"""The training loop on a linear model: what is written, and that a run continues exactly where it stopped."""

import dataclasses
import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from core.errors import Stopped
from data.fields import Field, labeled
from data.pipeline import examples_of_step, train_batches
from data.prefetch import DataError
from data.source import Source
from runtime.devices import make_devices
from runtime.signals import StopRequest
from training.checkpoint import CheckpointError, Checkpoints
from training.checksums import checksums
from training.compile import compile_steps, make_test_loss
from training.ema import EMA
from training.loop import Trainer, TrainingData, open_workdir
from training.objectives.base import Terms, make_loss_fn
from training.progress import NonFiniteLossError
from training.resume import resume
from training.settings import TrainSettings
from training.state import initial_state
from training.step import make_train_step

KEY, TX, BATCH = jax.random.key(3), optax.adam(0.1), 8
SETTINGS = TrainSettings(
    n_iters=15,
    batch_size=BATCH,
    grad_accumulation=1,
    n_jitted_steps=1,
    log_freq=5,
    eval_freq=5,
    snapshot_freq=10,
    snapshot_freq_for_preemption=5,
    on_nonfinite="stop",
    max_nonfinite=10,
    spike_factor=10.0,
)
VALUES = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)


def source_of(values, fetch=None):
    return Source(
        name="values",
        num_examples=len(values),
        fields=labeled(Field((3,))),
        fetch=fetch or (lambda i: {"x": values[i], "label": np.zeros(len(i), np.int32)}),
    )


def objective(variables, keys, batch, dropout_key, step):
    """A loss, and as a collection the number and the sum of the examples that were trained on."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    loss = jnp.sum((batch["x"] * variables["params"]["a"][None] - noise) ** 2, axis=1)
    seen = variables["seen"]
    after = {"count": seen["count"] + len(keys), "sum": seen["sum"] + batch["x"].sum(axis=0)}
    return Terms({"error": loss}, {}, {"seen": after})


def first_state():
    seen = {"count": jnp.int32(0), "sum": jnp.zeros(3)}
    return initial_state({"params": {"a": jnp.zeros(3)}, "seen": seen}, TX)


class After(StopRequest):
    """A signal that arrives during step `steps` of this process."""

    def __init__(self, steps):
        self.left = steps

    @property
    def signal(self):
        self.left -= 1
        return "SIGTERM" if self.left <= 0 else None


TRAIN, TEST = source_of(VALUES), source_of(VALUES[:20])


def train(path, source=TRAIN, stop=None, snapshot=None, num_devices=1, test=TEST, **changes):
    """One process of a run; the trainer when it has ended."""
    settings = dataclasses.replace(SETTINGS, **changes)
    devices = make_devices(jax.devices()[:num_devices])
    step = make_train_step(
        make_loss_fn(objective), TX, EMA(0.9), lambda step: 0.1, KEY,
        skip_nonfinite=settings.on_nonfinite == "skip",
    )  # fmt: skip
    batch = {"x": np.zeros((BATCH, 3), np.float32), "label": np.zeros(BATCH, np.int32)}
    data = TrainingData(
        lambda step: train_batches(source, seed=1, batch_size=BATCH, start_step=step),
        devices.shard_batch,
        lambda step: examples_of_step(source, seed=1, batch_size=BATCH, step=step - 1),
    )

    def initial():
        return jax.device_put(first_state(), devices.replicated)

    with open_workdir(path) as workdir:

        def start():
            return resume(workdir.newest, initial, initial, lambda stored: {})

        trainer = Trainer(
            settings, {"seed": 1}, {}, workdir, data,
            compile_steps(step, initial(), batch, settings, devices),
            make_test_loss(objective, test, jax.random.key(4), settings, devices)
            if settings.eval_freq else None,
            snapshot, resume=start, stop=stop or StopRequest(), progress=start(),
        )  # fmt: skip
        trainer.train()
    return trainer


def metrics(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines]


def newest_state(path):
    store = Checkpoints(path / "checkpoints-meta")
    number = store.numbers()[-1]
    state = store.restore(number, jax.device_put(first_state(), jax.devices()[0]))
    notes = store.notes(number)
    store.close()
    return number, state, notes


def newest(path):
    number, state, notes = newest_state(path)
    return number, checksums(state), notes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of fifteen steps without incident."""
    path = tmp_path_factory.mktemp("whole")
    snapshots = []
    train(path, snapshot=lambda state, number, step, log: snapshots.append((number, step)))
    return types.SimpleNamespace(path=path, snapshots=snapshots)


class Watching(StopRequest):
    """Counts the numbers that are on the device after each step."""

    def __init__(self):
        self.held = []

    @property
    def signal(self):
        self.held.append(sum(x.shape == () for x in jax.live_arrays()))


def test_metrics_of_many_steps_between_two_lines_do_not_stay_on_the_device(tmp_path, monkeypatch):
    """They would take 10 KB for each step."""
    held = {}
    for fetched in (100, 4):
        monkeypatch.setattr("training.progress.FETCHED", fetched)
        watching = Watching()
        train(tmp_path / f"{fetched}", stop=watching, log_freq=30, n_iters=30)
        held[fetched] = watching.held
    assert held[100][-2] >= held[100][0] + 28 and max(held[4]) <= held[4][0] + 16
    assert metrics(tmp_path / "100") == metrics(tmp_path / "4")


def test_lines_checkpoints_and_snapshots_come_when_they_are_due(whole):
    assert [(line["step"], "test_loss" in line) for line in metrics(whole.path)] == [
        (step, is_test) for step in (5, 10, 15) for is_test in (False, True)
    ]
    stored = {
        name: sorted(p.name for p in (whole.path / name).iterdir()) for name in ("checkpoints", "checkpoints-meta")
    }
    assert stored == {"checkpoints": ["1", "2"], "checkpoints-meta": ["10", "15"]}
    assert whole.snapshots == [(1, 10), (2, 15)]


@pytest.mark.parametrize("steps", [3, 5, 7])
def test_a_run_that_is_stopped_and_resumed_equals_one_that_was_not_bit_for_bit(whole, tmp_path, steps):
    message = rf"^stopped by SIGTERM after step {steps}, which is saved; start the same command again\.$"
    with pytest.raises(Stopped, match=message):
        train(tmp_path, stop=After(steps))
    assert newest(tmp_path)[0] == steps
    train(tmp_path)
    assert newest(tmp_path) == newest(whole.path) and metrics(tmp_path) == metrics(whole.path)


def test_three_steps_in_one_dispatch_make_the_same_run(whole, tmp_path):
    train(tmp_path, n_jitted_steps=3)
    for fused, single in zip(metrics(tmp_path), metrics(whole.path), strict=True):
        assert fused == pytest.approx(single, rel=1e-5)


def test_eight_devices_make_the_run_of_one(whole, tmp_path):
    train(tmp_path, num_devices=8)
    for ours, one in zip(metrics(tmp_path), metrics(whole.path), strict=True):
        assert ours == pytest.approx(one, rel=1e-5)  # sums over the batch in another order


def poisoned(step):
    """The data with NaN in an example that occurs in this step, counted from 1, and in no other of the fifteen."""
    batches = [examples_of_step(source_of(VALUES), seed=1, batch_size=BATCH, step=k) for k in range(15)]
    values = VALUES.copy()
    values[next(i for i in batches[step - 1] if sum(i in batch for batch in batches) == 1)] = np.nan
    return source_of(values), batches[step - 1]


@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_the_policy_decides_what_follows_a_loss_that_is_not_finite(tmp_path, caplog, policy):
    source, examples = poisoned(8)
    if policy == "stop":
        with pytest.raises(
            NonFiniteLossError,
            match=r"became non-finite in step 8, in the interval of steps 6 to 10; the checkpoint of step 5 is intact",
        ):
            train(tmp_path, source)
        assert newest(tmp_path)[0] == 5
    else:
        train(tmp_path, source, on_nonfinite=policy, eval_freq=0)
        assert [(line["step"], line["skipped"]) for line in metrics(tmp_path)] == [(5, 0.0), (10, 1.0), (15, 0.0)]
        assert newest(tmp_path)[2]["bad_steps"] == [8]
        seen = newest_state(tmp_path)[1].collections["seen"]
        assert int(seen["count"]) == 14 * BATCH and np.isfinite(seen["sum"]).all()  # without the bad batch
        assert ("rolled back to step 5; the batch of step 8 is left out" in caplog.text) == (policy == "rollback")
    listed = " ".join(map(str, examples))
    assert (
        f"step 8: the loss or its gradient is not finite; its batch has the training examples {listed} " in caplog.text
    )


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_run_with_too_many_bad_batches_stops(tmp_path, policy):
    source = source_of(np.full_like(VALUES, np.nan))
    with pytest.raises(NonFiniteLossError, match=r"in step 2, .* \(1 batches were left out before\)"):
        train(tmp_path, source, on_nonfinite=policy, max_nonfinite=1)


def test_a_run_that_lost_its_data_saves_its_last_step_and_resumes_there(whole, tmp_path):
    calls = []

    def fetch(indices):
        calls.append(indices)
        if len(calls) > 7:
            raise FileNotFoundError("[Errno 2] No such file or directory: 'image.png'")
        return {"x": VALUES[indices], "label": np.zeros(len(indices), np.int32)}

    with pytest.raises(DataError, match=r"^The training data of step 8 cannot be read"):
        train(tmp_path, source_of(VALUES, fetch))
    assert newest(tmp_path)[0] == 7
    train(tmp_path)
    assert newest(tmp_path) == newest(whole.path)


def test_a_test_example_that_cannot_be_read_ends_in_one_sentence_with_the_step_saved(tmp_path):
    def fetch(indices):
        raise ValueError("image.png cannot be read as an image (it is cut off)")

    with pytest.raises(
        DataError, match=r"^The test data of step (\d+) cannot be read \(image.png .*; restore them"
    ) as error:
        train(tmp_path, test=source_of(VALUES[:20], fetch), eval_freq=4)
    step = int(str(error.value).split("step ")[1].split()[0])
    assert newest(tmp_path)[0] == step


def test_the_last_checkpoint_of_a_run_that_is_extended_is_replaced(tmp_path):
    train(tmp_path)
    train(tmp_path, n_iters=20)
    store = Checkpoints(tmp_path / "checkpoints")
    assert store.numbers() == [1, 2] and store.notes(2)["step"] == 20
    store.close()


def damage(checkpoint):
    """Cuts the files of the state short."""
    for file in (p for p in (checkpoint / "state").rglob("*") if p.is_file()):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_damaged_checkpoint_is_set_aside_and_the_run_resumes_from_the_one_before(whole, tmp_path, caplog):
    shutil.copytree(whole.path, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "checkpoints-meta" / "15")
    train(tmp_path)
    assert "resuming from checkpoint 10 instead; 15 is set aside" in caplog.text
    assert sorted(path.name for path in (tmp_path / "checkpoints-meta").iterdir()) == ["10", "15", "15.damaged"]
    assert newest(tmp_path) == newest(whole.path) and metrics(tmp_path) == metrics(whole.path)


def array_files(checkpoint):
    return [path for path in checkpoint.glob("state/**/d/*") if path.is_file()]


@pytest.mark.parametrize(
    "damage",
    [
        lambda checkpoint: [path.unlink() for path in array_files(checkpoint)],
        lambda checkpoint: [path.write_bytes(b"") for path in array_files(checkpoint)],
        lambda checkpoint: shutil.rmtree(checkpoint / "state"),
        lambda checkpoint: shutil.rmtree(checkpoint / "checksums"),
        lambda checkpoint: (checkpoint / "notes" / "metadata").write_bytes(b"\xff"),
        lambda checkpoint: (checkpoint / "config" / "metadata").write_text("[1]"),
    ],
    ids=["array removed", "array emptied", "state removed", "checksums removed", "notes", "config"],
)
def test_whatever_is_damaged_in_a_checkpoint_the_run_ends_as_if_it_had_not_been(whole, tmp_path, damage):
    shutil.copytree(whole.path, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "checkpoints-meta" / "15")
    train(tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints-meta").iterdir()) == ["10", "15", "15.damaged"]
    assert newest(tmp_path) == newest(whole.path) and metrics(tmp_path) == metrics(whole.path)


def test_without_an_intact_checkpoint_the_run_stops(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path, dirs_exist_ok=True)
    for number in ("10", "15"):
        damage(tmp_path / "checkpoints-meta" / number)
    with pytest.raises(CheckpointError, match=r"^Checkpoint 15 in .* delete it to resume from the one before\.$"):
        train(tmp_path)


def test_some_steps_are_traced_for_a_profiler_and_the_run_is_the_same(tmp_path, caplog):
    with caplog.at_level("INFO"):
        train(tmp_path / "traced", profile_steps=(2, 3))
    (trace,) = (tmp_path / "traced" / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size and "the steps 2 to 3" in caplog.text
    train(tmp_path / "plain")
    assert metrics(tmp_path / "traced") == metrics(tmp_path / "plain")


def test_a_run_that_ends_before_its_last_traced_step_still_writes_the_trace(tmp_path):
    train(tmp_path, n_iters=5, snapshot_freq=5, profile_steps=(5, 100))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
