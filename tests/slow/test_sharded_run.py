"""A run whose state is sharded has the numbers of one whose state is replicated."""

import json

import numpy as np
import pytest

import run_lib
from programs.run import Run
from tests.support import perceptron
from tests.support.configs import load


@pytest.fixture(autouse=True)
def _perceptron(monkeypatch):
    perceptron.register(monkeypatch)


def report_of(run, folder):
    (path,) = run_lib.evaluate_run(run, folder)
    return json.loads(path.read_text())["results"], np.load(path.parent / "samples.npz")["arr_0"]


def test_a_run_with_a_sharded_state_and_accumulated_gradients_has_the_numbers_of_a_plain_one(data_dir, tmp_path):
    """Training with a test loss and a grid of samples, then loss, bits/dim and samples of its checkpoint."""
    found = {}
    for name, settings in {"plain": {}, "sharded": {"fsdp": 4, "grad_accumulation": 2}}.items():
        config = load("configs/vp/smoke.py")
        config.data.data_dir = data_dir
        config.model.update(name=perceptron.NAME, nf=64)
        config.training.update(**settings)
        run = Run(config, str(tmp_path / name))
        run_lib.train_run(run)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses = [line[key] for line in lines for key in ("loss", "test_loss") if key in line]
        found[name] = losses, *report_of(run, "eval")
    losses, results, samples = found["sharded"]
    np.testing.assert_allclose(losses, found["plain"][0], rtol=1e-5)  # sums in another order
    for task in ("loss", "bits_per_dim"):
        # The parameters of ten steps of Adam differ by some 1e-5 where a gradient is near 0; bits/dim to the tolerance.
        assert results[task]["mean"] == pytest.approx(found["plain"][1][task]["mean"], rel=1e-3)
    assert np.mean(samples != found["plain"][2]) < 0.02  # levels at the border between two
