"""Training with settings that change the batch, and with too little memory."""

import jax
import numpy as np
import pytest

import run_lib
from core import memory
from core.errors import ExitCode, RunError
from programs import restore_run, train
from programs.run import Run
from tests.support import perceptron
from tests.support.configs import load
from training import augment


def test_a_network_learns_from_the_labels_of_augmentations(data_dir, tmp_path):
    config = load("configs/vp/smoke.py")
    config.data.update(data_dir=data_dir, augment=0.5)
    config.model.update(name=perceptron.NAME, augment_dim=augment.NUM_LABELS)
    config.training.update(n_iters=5, snapshot_sampling=False)
    run = Run(config, str(tmp_path), jax.devices()[:1])
    run_lib.train_run(run)
    params = restore_run.restore(tmp_path).variables["params"]
    (kernel,) = (leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if "augment" in str(path))
    assert np.all(kernel != 0)  # it is initialized to zero


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator reports its own memory")
def test_a_step_that_does_not_fit_is_refused_before_it_runs(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**26}\n")  # less than the process already holds
    monkeypatch.setattr(memory, "CGROUP", limit)
    config = load("configs/vp/smoke.py")
    config.model.name = perceptron.NAME
    run = Run(config, str(tmp_path / "run"), jax.devices()[:1])
    with pytest.raises(RunError, match=r"batch_size = \d+ needs about \d+ MiB of this process, but 64 MiB") as raised:
        run_lib.train_run(run)
    assert raised.value.exit_code == ExitCode.RUN_ERROR
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    monkeypatch.undo()
    run_lib.train_run(run)  # nothing was lost


def test_a_batch_larger_than_the_data_set_is_warned_of(tmp_path, caplog):
    np.save(tmp_path / "mine.npy", np.zeros((12, 8, 8, 1), np.uint8))
    config = load("configs/vp/smoke.py")
    config.data.update(dataset=f"npy:{tmp_path}/mine.npy")
    config.model.name = perceptron.NAME
    for batch_size, warned in ((16, True), (4, False)):
        caplog.clear()
        config.training.batch_size = batch_size
        train.prepare(Run(config, str(tmp_path / "run"), jax.devices()[:1]))
        assert (f"batch_size = {batch_size} is more than the" in caplog.text) == warned
