"""What can go wrong in a long run: each fault with its message, its exit code, and what it leaves on disk."""

import dataclasses
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import run_lib
from configs import default
from core.errors import ExitCode, RunError, Stopped
from data.pipeline import examples_of_step
from programs.run import Run
from programs.train import compile_all
from runtime.lock import workdir_lock
from runtime.signals import StopRequest
from tests.support.configs import QUICK, QUICK_FLAGS, load
from tests.support.paths import ROOT
from training.checkpoint import CheckpointError, Checkpoints
from training.objectives.base import Terms

# Where one array cannot be read, Orbax abandons the tasks of the others, which complain when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# The lock and signals -----------------------------------------------------------------------------------------------


def test_the_second_trainer_on_a_workdir_is_refused_until_the_first_has_ended(tmp_path):
    script = (
        f"import pathlib, runtime.lock as l\nwith l.workdir_lock(pathlib.Path({str(tmp_path)!r})):\n"
        "  print('x', flush=True)\n  input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "x\n"
        pattern = (
            rf"^Another trainer is running in {tmp_path} \(process {first.pid} on .*\); "
            r"wait for it, stop it, or give another --workdir\.$"
        )
        with pytest.raises(RunError, match=pattern), workdir_lock(tmp_path):
            pass
        first.kill()
    with workdir_lock(tmp_path):  # the lock died with its process
        pass


def test_the_first_signal_is_noted_and_the_second_ends_the_process_at_once():
    script = (
        "import os, signal, sys\nfrom runtime.signals import StopRequest\nstop = StopRequest().install()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\nprint(stop.signal, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\nprint('still here')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "SIGTERM\n" and done.returncode == -15  # 143 to a shell


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_sampling_that_is_ended_by_a_signal_says_what_is_left_of_it(tmp_path, number, code):
    script = (
        "import os, time, main\n"
        f"main.sample.Run.of_checkpoint = lambda *_: os.kill(os.getpid(), {number:d}) or time.sleep(60)\n"
        f"words = ['main.py', '--config=configs/vp/smoke.py', '--mode=sample', '--workdir={tmp_path}']\n"
        "main.app.run(main.main, words, flags_parser=main.parse)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    place = f"nothing was written to {tmp_path}/sample/unconditional yet"
    said = done.stderr.splitlines()  # after the line about the device
    assert said[-1] == f"stopped by {number.name}: {place}; start the same command again." and len(said) == 2
    assert done.returncode == code


# The step ---------------------------------------------------------------------------------------------------------


# The program ------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(data_dir):
    config = load("configs/vp/smoke.py")
    config.data.data_dir = data_dir
    config.update_from_flattened_dict(QUICK)
    config.training.update(snapshot_sampling=False, eval_freq=0, n_iters=15, snapshot_freq=15)
    return config


def experiment(config, workdir):
    return Run(config, str(workdir), jax.devices()[:1])


def final(workdir, number=15):
    """Checksums of the newest state, and the metrics without wall times."""
    store = Checkpoints(workdir / "checkpoints-meta")
    assert store.numbers()[-1] == number
    store.close()
    stored = json.loads((store.directory / str(number) / "checksums" / "metadata").read_text())["state"]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return stored, [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines]


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """A run of fifteen steps without incident."""
    workdir = tmp_path_factory.mktemp("whole")
    config = load("configs/vp/smoke.py")
    config.data.data_dir = data_dir
    config.update_from_flattened_dict(QUICK)
    config.training.update(snapshot_sampling=False, eval_freq=0, n_iters=15, snapshot_freq=15)
    run_lib.train_run(experiment(config, workdir))
    return workdir


def flip_a_bit(checkpoint):
    """In the largest file, which holds the arrays."""
    file = max((p for p in (checkpoint / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(bytes(content))


def test_a_damaged_checkpoint_is_set_aside_and_the_run_resumes_from_the_one_before(whole, config, tmp_path, caplog):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints-meta" / "15"
    flip_a_bit(newest)
    with caplog.at_level("INFO"):
        run_lib.train_run(experiment(config, tmp_path))
    assert f"Checkpoint 15 in {newest.parent} " in caplog.text
    assert "resuming from checkpoint 10 instead; 15 is set aside" in caplog.text
    assert sorted(p.name for p in newest.parent.iterdir()) == ["10", "15", "15.damaged"]
    assert final(tmp_path) == final(whole)


def test_without_an_intact_checkpoint_the_run_stops(whole, config, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    for number in ("10", "15"):
        flip_a_bit(tmp_path / "checkpoints-meta" / number)
    with pytest.raises(CheckpointError, match="^Checkpoint 15 in .* delete it to resume from the one before.$"):
        run_lib.train_run(experiment(config, tmp_path))


def test_the_last_checkpoint_of_a_run_that_is_extended_is_replaced(whole, config, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    config.training.update(n_iters=20, snapshot_freq=20)
    run = experiment(config, tmp_path)
    run_lib.train_run(run)
    store = Checkpoints(tmp_path / "checkpoints")
    assert store.numbers() == [1] and int(store.restore(1, run.abstract_state()).step) == 20
    store.close()


class After(StopRequest):
    """A signal that comes during step `steps` of this process."""

    def __init__(self, steps):
        self.left = steps

    @property
    def signal(self):
        self.left -= 1
        return "SIGTERM" if self.left <= 0 else None


def test_a_run_that_is_stopped_between_two_lines_of_metrics_resumes_as_if_it_had_not_been(whole, config, tmp_path):
    with pytest.raises(
        Stopped, match=r"^stopped by SIGTERM after step 7, which is saved; start the same command again"
    ):
        run_lib.train_run(experiment(config, tmp_path), After(7))
    assert [line["step"] for line in final(tmp_path, 7)[1]] == [5]
    run_lib.train_run(experiment(config, tmp_path))
    assert final(tmp_path) == final(whole)


def poisoned(config, workdir, index):
    """An experiment whose example `index` has a loss that is not a number."""
    run = experiment(config, workdir)
    fetch, objective = run.train.fetch, run.system.objective

    def fetch_poison(indices):
        batch = fetch(indices)
        return batch | {"x": np.where((indices == index)[:, None, None, None], np.uint8(255), batch["x"])}

    def poison(variables, keys, batch, *rest):
        bad = jnp.all(batch["x"] == 255, axis=(1, 2, 3))
        terms = objective(variables, keys, batch, *rest)
        return Terms({name: loss + jnp.where(bad, jnp.nan, 0.0) for name, loss in terms.losses.items()})

    run.splits.train = dataclasses.replace(run.train, fetch=fetch_poison)
    run.system.objective = poison
    return run


def example_of_step(run, step):
    """An example of step `step`, from 1, that no other of the fifteen steps has."""
    steps = [examples_of_step(run.train, seed=42, batch_size=16, step=k) for k in range(15)]
    return next(i for i in steps[step - 1] if sum(i in other for other in steps) == 1)


@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_the_policy_decides_what_follows_a_loss_that_is_not_finite(whole, config, tmp_path, caplog, policy):
    config.training.on_nonfinite = policy
    index = example_of_step(experiment(config, tmp_path), 8)
    run = poisoned(config, tmp_path, index)
    if policy == "stop":
        message = (
            "The loss became non-finite in step 8, in the interval of steps 6 to 10; the checkpoint of step 5 is "
            "intact: lower config.optim.lr or config.optim.grad_clip and start the same command again."
        )
        with pytest.raises(run_lib.NonFiniteLossError, match=f"^{re.escape(message)}$"):
            run_lib.train_run(run)
        assert sorted(p.name for p in (tmp_path / "checkpoints-meta").iterdir()) == ["5"]
    else:
        run_lib.train_run(run)
        _, lines = final(tmp_path)
        assert [(line["step"], line["skipped"]) for line in lines] == [(5, 0.0), (10, 1.0), (15, 0.0)]
        assert all(np.isfinite(v) for line in lines for v in line.values())
        store = Checkpoints(tmp_path / "checkpoints-meta")
        assert store.notes(15)["bad_steps"] == [8]
        state = store.restore(15, run.abstract_state())
        store.close()
        assert int(state.step) == 15 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
        if policy == "rollback":
            assert "rolled back to step 5; the batch of step 8 is left out" in caplog.text
    batch = " ".join(map(str, examples_of_step(run.train, seed=42, batch_size=16, step=7)))
    assert (
        f"step 8: the loss or its gradient is not finite; its batch has the training examples {batch} " in caplog.text
    )
    assert str(index) in batch.split()


def test_after_too_many_bad_batches_the_run_stops(config, tmp_path):
    config.training.update(on_nonfinite="skip", max_nonfinite=1)
    run = poisoned(config, tmp_path, -1)
    objective = run.system.objective
    run.system.objective = lambda *args: Terms({k: v * jnp.nan for k, v in objective(*args).losses.items()})
    with pytest.raises(run_lib.NonFiniteLossError, match=r"in step 2, .* \(1 batches were left out before\)"):
        run_lib.train_run(run)


def test_a_run_that_lost_its_data_saves_its_last_step_and_says_why(whole, config, tmp_path):
    config.data.num_threads = 1  # so that the eighth call is for the eighth batch
    run = experiment(config, tmp_path)
    fetch, calls = run.train.fetch, []

    def gone(indices):
        calls.append(indices)
        if len(calls) > 7:
            raise FileNotFoundError("[Errno 2] No such file or directory: 'image.png'")
        return fetch(indices)

    run.splits.train = dataclasses.replace(run.train, fetch=gone)
    message = (
        r"^The training data of step 8 cannot be read \(.*No such file or directory: 'image.png'.*\); restore them in "
        r"config.data.data_dir and start the same command again\.$"
    )
    with pytest.raises(RunError, match=message):
        run_lib.train_run(run)
    assert final(tmp_path, 7)
    run_lib.train_run(experiment(config, tmp_path))
    assert final(tmp_path) == final(whole)


def test_a_device_without_memory_is_one_sentence_that_says_what_to_lower(config, tmp_path, monkeypatch, caplog):
    def exhausted(*given):
        def advance(*args):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")

        compiled = compile_all(*given)
        return dataclasses.replace(compiled, steps=dataclasses.replace(compiled.steps, advance=advance))

    monkeypatch.setattr("programs.train.compile_all", exhausted)
    message = (
        r"^The device ran out of memory \(a training step of 16 images on 1 device\(s\) needs about \d+ MiB of each\); "
        r"set config.model.remat, raise config.training.grad_accumulation, lower config.training.batch_size, "
        r"config.training.snapshot_num_samples or config.model.nf, or use more devices, and start again\.$"
    )
    with caplog.at_level("INFO"), pytest.raises(RunError, match=message):
        run_lib.train_run(experiment(config, tmp_path))
    assert re.search(r"training needs about [1-9]\d* MiB of this process", caplog.text)
    assert (tmp_path / "memory.prof").stat().st_size and "memory.prof" in caplog.text


def test_another_model_is_trained_further_only_where_it_is_allowed(whole, config, tmp_path, caplog):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    config.model.dropout, config.optim.lr = 0.05, 0.5
    message = (
        rf"^The run in {tmp_path} was started with another model or other data \(model.dropout: was 0.0, is 0.05\); "
        r"give it the old values, another --workdir, or --allow_config_change\.$"
    )
    with pytest.raises(RunError, match=message):
        run_lib.train_run(experiment(config, tmp_path))
    run_lib.train_run(experiment(config, tmp_path), allow_config_change=True)
    assert "config.model.dropout was 0.0 and is now 0.05" in caplog.text
    assert "config.optim.lr was 0.002 and is now 0.5" in caplog.text


def test_a_key_that_an_older_checkpoint_does_not_know_is_no_change():
    stored = default.to_json(load("configs/vp/smoke.py"))
    del stored["model"]["num_labels"], stored["restore"]
    whole_again = default.complete(stored)
    assert default.differences(whole_again, default.to_json(load("configs/vp/smoke.py"))) == {}


# Exit codes -------------------------------------------------------------------------------------------------------


def command(workdir, *arguments):
    config = ROOT / "configs/vp/smoke.py"
    return [
        sys.executable,
        "main.py",
        f"--config={config}",
        f"--workdir={workdir}",
        "--mode=train",
        *QUICK_FLAGS,
        *arguments,
    ]


def start(workdir, *arguments):
    done = subprocess.run(command(workdir, *arguments), cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip().splitlines()


def test_the_exit_codes_of_faults_are_as_documented(whole, data_dir, tmp_path):
    data = f"--config.data.data_dir={data_dir}"
    with workdir_lock(tmp_path / "held"):
        code, lines = start(tmp_path / "held", data)
        assert code == ExitCode.RUN_ERROR and lines[-1].startswith("error: Another trainer is running in")
    (tmp_path / "file").write_text("")
    code, lines = start(tmp_path / "file" / "below", data)
    assert code == ExitCode.RUN_ERROR
    assert lines[-1] == (
        f"error: The workdir {tmp_path / 'file' / 'below'} cannot be written (Not a directory); "
        "make it writable, or give another --workdir."
    )
    damaged = pathlib.Path(shutil.copytree(whole, tmp_path / "damaged"))
    for number in ("10", "15"):
        flip_a_bit(damaged / "checkpoints-meta" / number)
    code, lines = start(damaged, data)
    assert code == ExitCode.RUN_ERROR and lines[-1].startswith("error: Checkpoint 15 in")
    code, lines = start(whole, data, "--config.model.dropout=0.3")
    assert code == ExitCode.RUN_ERROR and "model.dropout: was 0.0, is 0.3" in lines[-1]
    code, lines = start(tmp_path / "new", "--config.data.dataset=folder", f"--config.data.data_dir={tmp_path}/gone")
    assert code == ExitCode.USER_ERROR and f"{tmp_path}/gone" in lines[-1]
    code, lines = start(tmp_path / "nan", data, "--config.optim.lr=1e38", "--config.optim.warmup=0")
    assert code == ExitCode.RUN_ERROR and lines[-1].startswith("error: The loss became non-finite in step")
