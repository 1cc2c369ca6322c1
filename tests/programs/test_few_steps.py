"""Average velocities through the programs: from another model, resumed, on several devices, sampled in one call."""

import json

import jax
import numpy as np
import pytest

import run_lib
from benchmarks import few_steps
from configs import presets
from programs import restore_run
from programs.run import Run
from tests.support.runs import smoke, untrained


def config_of(data_dir, **training):
    """The smoke run with the perceptron, in ten steps."""
    config = smoke()
    presets.flow(config)
    presets.few_steps(config, "improved_mean_flow")
    config.data.data_dir = data_dir
    config.training.update(snapshot_sampling=False, eval_freq=0, velocity="network", **training)
    return config


def train(config, workdir, devices=1):
    run_lib.train_run(Run(config, str(workdir), jax.devices()[:devices]))
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["squared_error"] for line in lines], restore_run.restore(workdir).variables["params"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A model of flow matching, without a second time, with random parameters."""
    config, workdir = smoke(), tmp_path_factory.mktemp("teacher")
    presets.flow(config)
    untrained(config, workdir)
    return workdir


def test_a_run_from_a_model_of_flow_matching_resumes_bit_for_bit_and_on_eight_devices(
    teacher, data_dir, tmp_path, caplog
):
    with caplog.at_level("INFO"):
        losses, whole = train(config_of(data_dir, init_from=str(teacher)), tmp_path / "whole")
    assert "missing there" in caplog.text and "interval" in caplog.text
    train(config_of(data_dir, init_from=str(teacher), n_iters=5), tmp_path / "parts")
    resumed, parts = train(config_of(data_dir, init_from=str(teacher)), tmp_path / "parts")
    assert resumed == losses
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    assert np.any(whole["MLP_0"]["interval_out"]["kernel"])
    several, _ = train(config_of(data_dir, init_from=str(teacher)), tmp_path / "several", devices=8)
    np.testing.assert_allclose(several, losses, rtol=1e-4)  # sums in another order


def test_a_model_samples_in_as_many_calls_as_steps_and_by_a_solver(data_dir, tmp_path, monkeypatch, capsys):
    """As the benchmark shows it."""
    run, model = untrained(config_of(data_dir), tmp_path), run_lib.load(tmp_path)
    found = [model.sample(8, sampler=name, steps=2) for name in ("average_velocity", "consistency", "dpmpp_2m")]
    assert all(samples.shape == (8, *run.spec.shape) for samples in found)
    assert not np.array_equal(found[0], found[1])
    monkeypatch.setattr("sys.argv", ["few_steps", str(tmp_path), "--calls", "2", "--num=8"])
    few_steps.main()
    assert f"| {tmp_path.name} | average_velocity |" in capsys.readouterr().out
