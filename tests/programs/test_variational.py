"""Variational diffusion by its config: the schedule is a part of the run, of its checkpoints and of its likelihood."""

import json

import jax
import numpy as np
import pytest

import run_lib
from programs.run import Run
from tests.support import perceptron
from tests.support.configs import load
from tests.support.runs import cut, stored
from training.checksums import checksums


def config_of(data_dir, path="configs/vdm/digits.py"):
    config = load(path)
    config.data.data_dir = data_dir
    config.model.update(name=perceptron.NAME, nf=8)
    config.optim.update(lr=0.01, warmup=0, schedule="constant")
    config.training.update(batch_size=16, n_iters=4, log_freq=1, snapshot_freq=2, eval_freq=0)
    config.training.update(snapshot_freq_for_preemption=2, snapshot_sampling=False)
    config.eval.update(begin_ckpt=2, end_ckpt=2, batch_size=304, enable_sampling=False, num_probes=2)
    return config


def lines(run):
    return [json.loads(line) for line in (run.workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_learned_schedule_trains_resumes_bit_for_bit_on_any_devices_and_is_evaluated(tmp_path, data_dir):
    runs = {}
    for name, devices in (("whole", 1), ("resumed", 1), ("eight", 8)):
        if name == "resumed":
            cut(tmp_path / "whole", 2, tmp_path / name)
        runs[name] = Run(config_of(data_dir), str(tmp_path / name), jax.devices()[:devices])
        run_lib.train_run(runs[name])
    state = stored(runs["whole"], 4)
    assert [line["step"] for line in lines(runs["resumed"])] == [3, 4]
    assert checksums(state) == checksums(stored(runs["resumed"], 4))
    start = runs["whole"].state().params["noise_schedule"]
    for name, leaf in state.params["noise_schedule"].items():
        assert np.abs(leaf - start[name]).max() > 1e-3, name
    for one, eight in zip(lines(runs["whole"]), lines(runs["eight"]), strict=True):
        assert eight["loss"] == pytest.approx(one["loss"], rel=1e-4)  # sums in another order
        assert one["loss"] == pytest.approx(one["prior"] + one["diffusion"] + one["reconstruction"], rel=1e-4)
    (report,) = run_lib.evaluate_run(runs["whole"])
    found = json.loads(report.read_text())["results"]
    assert found["bits_per_dim"]["num_examples"] == 300
    # The training loss of test examples is the same bound at one time; both have the errors of their own noise.
    errors = found["bits_per_dim"]["standard_error"], found["loss"]["standard_error"]
    assert abs(found["bits_per_dim"]["mean"] - found["loss"]["mean"]) < 5 * np.hypot(*errors)


def test_what_does_not_go_with_a_bound_on_levels_is_refused(tmp_path, data_dir):
    for setting, message in (
        ({"data.uniform_dequantization": True}, "bounds the probability of levels in continuous time, but the data"),
        ({"training.uncertainty": True}, "here training.uncertainty = True"),
        ({"training.coupling": "optimal_transport"}, "training.coupling = 'optimal_transport'"),
    ):
        config = config_of(data_dir)
        config.update_from_flattened_dict(setting)
        with pytest.raises(ValueError, match=message):
            Run(config, str(tmp_path), jax.devices()[:1])
