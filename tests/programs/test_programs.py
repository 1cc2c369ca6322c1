"""The programs from end to end, on the smoke config: train, resume, evaluate; what goes wrong, and what they report."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import run_lib
from configs import default
from core.errors import ExitCode, RunError
from core.files import temporary_file, write_atomically
from evaluation import rounds
from programs.run import Run
from tests.support.runs import smoke
from tests.support.trackers import seen, seen_lines
from training.checkpoint import CheckpointError, Checkpoints
from training.objectives.base import Terms

ONE_DEVICE = slice(0, 1)
RECORDER = "tests.support.trackers:Recorder"


@pytest.fixture
def config(data_dir):
    config = smoke()
    config.data.data_dir = data_dir
    return config


def experiment(config, workdir, devices=ONE_DEVICE):
    return Run(config, str(workdir), jax.devices()[devices])


def leaves(workdir, folder, number, run):
    store = Checkpoints(workdir / folder)
    state = store.restore(number, run.abstract_state())
    store.close()
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def metrics(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("per_second")} for line in lines]


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A run of ten steps; nobody changes it."""
    workdir = tmp_path_factory.mktemp("trained")
    config = smoke()
    config.data.data_dir = data_dir
    run_lib.train_run(experiment(config, workdir), tracker=RECORDER)
    return workdir


def test_training_leaves_checkpoints_metrics_and_a_grid(trained):
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == ["1"]
    assert sorted(path.name for path in (trained / "checkpoints-meta").iterdir()) == ["10", "5"]
    steps = [line["step"] for line in metrics(trained)]
    assert steps == [5, 5, 10, 10]  # training metrics and the test loss
    assert all(np.isfinite(v) for line in metrics(trained) for v in line.values())
    with Image.open(trained / "samples" / "snapshot_1.png") as grid:
        assert grid.mode == "L" and grid.size[0] == grid.size[1] > 4 * 8
    assert list((trained / "tensorboard").iterdir())
    record = json.loads((trained / "samples" / "snapshot_1.json").read_text())
    assert record == {"step": 10, "num_samples": 16, "sampler": "euler_maruyama, 10 steps", "num_evals": 11}


def test_ten_steps_equal_five_and_a_restart_and_five_bit_for_bit(trained, config, tmp_path):
    first = experiment(config, tmp_path)
    with first.config.unlocked():
        first.config.training.n_iters = 5
    run_lib.train_run(first, tracker=RECORDER)
    assert not (tmp_path / "checkpoints" / "2").exists()
    shutil.rmtree(tmp_path / "checkpoints")  # that of a run of five steps
    config.training.n_iters = 10
    second = experiment(config, tmp_path)
    run_lib.train_run(second, tracker=RECORDER)
    for ours, whole in zip(
        leaves(tmp_path, "checkpoints", 1, second), leaves(trained, "checkpoints", 1, second), strict=True
    ):
        np.testing.assert_array_equal(ours, whole)
    assert metrics(tmp_path) == metrics(trained)
    for workdir in (tmp_path, trained):
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        assert seen_lines(workdir) == lines  # each once, with the speeds
    assert [entry["at"] for entry in seen(tmp_path) if "image" in entry] == [5, 10]
    opened = {entry["opened"] for entry in seen(tmp_path) if "opened" in entry}
    assert len(opened) == 1 and seen(tmp_path)[-1] == {"closed": True}
    grids = [np.asarray(Image.open(path / "samples" / "snapshot_1.png")) for path in (trained, tmp_path)]
    np.testing.assert_array_equal(*grids)


def test_a_finished_run_is_left_alone(trained, config, caplog):
    with caplog.at_level("INFO"):
        run_lib.train_run(experiment(config, trained))
    assert "nothing to do: step 10 of 10 is reached" in caplog.text


def test_what_a_kill_left_half_written_is_removed_and_what_is_being_written_is_not(trained, config):
    left = [trained / ".finished.json.0.tmp", trained / "samples" / ".snapshot_1.json.1.tmp"]
    for path in left:
        path.write_text('{"step": ')
    with temporary_file(trained / "report.html") as written:
        written.write_text("half a report")
        run_lib.train_run(experiment(config, trained))
        assert written.exists()
    assert not any(path.exists() for path in left)
    (trained / "report.html").unlink()


def test_eight_devices_give_the_losses_of_one(trained, config, tmp_path):
    config.training.snapshot_sampling = False
    run_lib.train_run(experiment(config, tmp_path, devices=slice(0, 8)))
    for ours, one in zip(metrics(tmp_path), metrics(trained), strict=True):
        assert ours.keys() == one.keys()
        for key in one:
            # Sums over the batch are taken in another order.
            assert ours[key] == pytest.approx(one[key], rel=1e-5), key


def test_another_model_is_refused_on_resume_and_named(trained, config, caplog):
    config.model.nf = 16
    with pytest.raises(RunError, match="model.nf: was 8, is 16") as error:
        run_lib.train_run(experiment(config, trained))
    assert "\n" not in str(error.value)
    config.model.nf, config.optim.lr = 8, 0.5
    with caplog.at_level("WARNING"):
        run_lib.train_run(experiment(config, trained))
    assert "config.optim.lr was 0.002 and is now 0.5" in caplog.text


def test_a_non_finite_loss_stops_the_run_and_keeps_the_checkpoint(trained, config, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    config.training.update(n_iters=20, eval_freq=0, snapshot_sampling=False)
    run = experiment(config, tmp_path)
    objective = run.system.objective
    poison = jnp.asarray([[jnp.nan]])

    def poisoned(variables, *rest):
        bias = jax.tree.leaves(variables)[0]
        ((name, loss),) = objective(variables, *rest).losses.items()
        return Terms({name: loss + jnp.where(jnp.sum(bias) == jnp.inf, 0.0, poison.sum())})

    monkeypatch.setattr(run.system, "objective", poisoned)
    with pytest.raises(run_lib.NonFiniteLossError, match="in step 11, in the interval of steps 11 to 15") as error:
        run_lib.train_run(run)
    assert "checkpoint of step 10 is intact" in str(error.value)
    assert sorted(path.name for path in (tmp_path / "checkpoints-meta").iterdir()) == ["10", "5"]


def test_evaluation_reports_every_example_once_and_can_be_interrupted(trained, config, tmp_path, monkeypatch):
    config.eval.enable_bpd = config.eval.enable_loss = config.eval.enable_sampling = True
    config.sampling.trajectory = 4
    run = experiment(config, trained)
    (path,) = run_lib.evaluate_run(run, str(tmp_path / "whole"))
    report = json.loads(path.read_text())
    assert report["step"] == 10 and report["checkpoint"] == 1 and report["seed"] == 42
    assert report["results"]["loss"]["num_examples"] == 300
    assert report["results"]["bits_per_dim"]["num_examples"] == 300
    assert report["results"]["bits_per_dim"]["standard_error"] > 0
    assert report["results"]["samples"] == {"num_samples": 24, "num_evals": 11}
    assert report["config"]["model"]["nf"] == 8 and report["versions"]["jax"] == jax.__version__
    assert report["sampler"] and (path.parent.parent / "real.png").exists()
    samples = np.load(path.parent / "samples.npz")["arr_0"]
    assert samples.shape == (24, 8, 8, 1) and samples.dtype == np.uint8 and samples.max() <= 16
    with Image.open(path.parent / "samples.png") as picture, Image.open(path.parent / "samples.gif") as film:
        assert film.n_frames == 4 and film.size == picture.size
        film.seek(3)
        np.testing.assert_array_equal(np.asarray(film.convert("L")), np.asarray(picture))

    # The same again, killed after the first file of a round has been written; then started once more.
    write, written = write_atomically, []

    def killed(path, content):
        if "round" in path.name and sum("round" in p for p in written) == 1:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(rounds, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        run_lib.evaluate_run(run, str(tmp_path / "twice"))
    monkeypatch.setattr(rounds, "write_atomically", write)
    (again,) = run_lib.evaluate_run(run, str(tmp_path / "twice"))
    assert again.read_bytes() == path.read_bytes()


def test_evaluation_refuses_to_mix_settings(trained, config, tmp_path):
    config.eval.enable_bpd = config.eval.enable_sampling = False
    run_lib.evaluate_run(experiment(config, trained), str(tmp_path / "mixed"))
    config.eval.batch_size = 80
    with pytest.raises(CheckpointError, match="eval.batch_size: was 160, is 80"):
        run_lib.evaluate_run(experiment(config, trained), str(tmp_path / "mixed"))


def test_a_missing_checkpoint_is_reported_at_once_if_training_has_ended(trained, config):
    config.eval.begin_ckpt = config.eval.end_ckpt = 7
    with pytest.raises(CheckpointError, match=r"Checkpoint 7 is not in .* \(training has ended\); found: \[1\]"):
        run_lib.evaluate_run(experiment(config, trained))


def test_a_checkpoint_that_does_not_come_ends_in_a_time_out(config, tmp_path):
    config.eval.wait_seconds = 0.1
    with pytest.raises(CheckpointError, match=r"waited 0.1 s\); found: none"):
        run_lib.evaluate_run(experiment(config, tmp_path))


def test_a_batch_that_does_not_divide_by_the_devices_is_refused(config, tmp_path):
    config.training.batch_size = 12
    with pytest.raises(ValueError, match=r"config.training.batch_size = 12 is not divisible .* 8; use a multiple of 8"):
        experiment(config, tmp_path, devices=slice(0, 8))


def test_images_of_another_size_are_refused(config, tmp_path):
    config.data.num_channels = 3
    with pytest.raises(ValueError, match=r"examples of \(8, 8, 3\), but digits has \(8, 8, 1\)"):
        experiment(config, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.training.batch_sise=3"], "the nearest is config.training.batch_size"),
        (["--config.training.batch_size=abc"], "config.training.batch_size=abc"),
        (["--mode=trian"], "value should be one of <train|eval"),
    ],
)
def test_flags_that_are_wrong_are_one_line_and_an_exit_code(arguments, message, tmp_path, command_line):
    code, error = command_line("--config=configs/vp/smoke.py", f"--workdir={tmp_path}", "--mode=train", *arguments)
    assert code == ExitCode.USER_ERROR
    assert message in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_wrong_name_is_one_line_and_an_exit_code_before_compilation(tmp_path, command_line):
    wrong = "--config.training.sde=vpsd"
    code, error = command_line("--config=configs/vp/smoke.py", f"--workdir={tmp_path}", "--mode=train", wrong)
    assert code == ExitCode.USER_ERROR
    assert error == (
        "error: config.training.sde = 'vpsd' is not known; "
        "choose one of cosine, edm, linear, log_linear, subvpsde, vesde, vpsde (nearest: vpsde)."
    )
    assert not list(tmp_path.iterdir())


def test_a_config_file_that_does_not_exist_is_one_line(tmp_path, command_line):
    code, error = command_line("--config=configs/vp/nothing.py", f"--workdir={tmp_path}", "--mode=train")
    assert code == ExitCode.USER_ERROR
    assert "configs/vp/nothing.py" in error and len(error.splitlines()) == 1


def test_the_config_of_a_checkpoint_is_the_config_of_its_run(trained, config):
    store = Checkpoints(trained / "checkpoints")
    assert default.differences(store.config(1), default.to_json(config)) == {}
    store.close()
