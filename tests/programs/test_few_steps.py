"""Average velocities through the programs: from another model, resumed, on several devices, sampled in one call."""

import json
import re

import jax
import numpy as np
import pytest

import run_lib
from benchmarks import few_steps
from configs import presets
from core.keys import example_keys
from data.pipeline import eval_batch
from programs import restore_run
from programs.run import Run
from tests.support.runs import cut, smoke, untrained


def config_of(data_dir, **training):
    """The smoke run with the perceptron, in ten steps."""
    config = smoke()
    presets.flow(config)
    presets.few_steps(config, "improved_mean_flow")
    config.data.data_dir = data_dir
    config.training.update(**{"snapshot_sampling": False, "eval_freq": 0, "velocity": "network", **training})
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
    resumed, parts = train(config_of(data_dir, init_from=str(teacher)), cut(tmp_path / "whole", 5, tmp_path / "parts"))
    assert len(losses) == 2 and resumed == losses[1:]  # of steps 5 and 10
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
    (distance,) = re.findall(rf"\| {tmp_path.name} \| average_velocity \| ([\d.]+) \|", capsys.readouterr().out)
    monkeypatch.setattr("sys.argv", ["few_steps", str(tmp_path), "--own", "--num=8"])
    few_steps.main()
    (own,) = re.findall(rf"\| {tmp_path.name} \| ([\d.]+) \|", capsys.readouterr().out)
    assert float(own) != float(distance)  # of one call


def test_a_model_learns_from_the_velocities_of_a_teacher_that_the_run_keeps(teacher, data_dir, tmp_path):
    config = config_of(data_dir, n_iters=2, objective="consistency", flow_share=0.0)
    config.training.velocity, config.model.stages = "teacher", (f"teacher={teacher}",)
    config.sampling.method = "consistency"
    losses, params = train(config, tmp_path / "run")
    assert np.all(np.isfinite(losses)) and np.any(params["MLP_0"]["interval_out"]["kernel"])
    assert (tmp_path / "run" / "frozen" / "teacher.msgpack").exists()
    assert run_lib.load(tmp_path / "run").sample(2, sampler="consistency", steps=1).shape[0] == 2
    run = Run(config, str(tmp_path / "run"), jax.devices()[:1])
    batch, keys = run.system.on_devices(eval_batch(run.train, 0, 16)), example_keys(jax.random.key(0), 16)
    error = lambda found: run.system.objective(  # noqa: E731
        {"params": params, "frozen": {"teacher": {"params": found}}}, keys, batch, None, 0
    ).metrics["squared_error"]
    theirs = restore_run.restore(teacher).variables["params"]
    assert error(theirs) != pytest.approx(float(error(jax.tree.map(np.zeros_like, theirs))), rel=1e-3)


def test_a_teacher_of_another_path_or_other_data_is_refused(data_dir, tmp_path):
    teacher = smoke()
    untrained(teacher, tmp_path / "vp")
    presets.flow(teacher)
    teacher.data.centered = False
    untrained(teacher, tmp_path / "other")
    for name, message in (("vp", "training.sde = 'vpsde'"), ("other", "the shape, data.centered, offset and scale")):
        config = config_of(data_dir, objective="consistency")
        config.training.velocity, config.model.stages = "teacher", (f"teacher={tmp_path / name}",)
        with pytest.raises(ValueError, match=message):
            Run(config, str(tmp_path / "run"), jax.devices()[:1])
