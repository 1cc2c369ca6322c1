"""Averages of the parameters, stored in training, give one of a width that is chosen afterwards."""

import jax
import optax
import pytest

import run_lib
from programs import convert, restore_run
from programs.run import Run
from tests.support import perceptron
from tests.support.configs import load
from training.checkpoint import Checkpoints


@pytest.fixture(autouse=True)
def _perceptron(monkeypatch):
    perceptron.register(monkeypatch)


def test_a_run_stores_its_averages_and_exports_one_of_a_width_chosen_afterwards(tmp_path):
    config = load("configs/vp/smoke.py")
    config.model.name = perceptron.NAME
    config.training.update(snapshot_sampling=False, eval_freq=0, n_iters=60, snapshot_freq=5)
    for settings, widths, folder in ((config, (0.05, 0.1), "stored"), (config, (0.075,), "tracked")):
        settings.model.ema_sigma_rels = widths
        settings.model.ema_rates = (0.99,)
        run_lib.train_run(Run(settings, str(tmp_path / folder), jax.devices()[:1]))
    store = Checkpoints(tmp_path / "tracked" / restore_run.FOLDER)
    exact = store.read(store.numbers()[-1], ("averages",))["averages"]["power_0"]
    store.close()
    config.model.ema_sigma_rels = (0.05, 0.1)
    convert.export_checkpoint(config, tmp_path / "stored", tmp_path / "average.npz", sigma_rel=0.075)
    imported = tmp_path / "imported"
    convert.import_checkpoint(config, imported, tmp_path / "average.npz")
    found = restore_run.restore(imported).variables["params"]
    difference = optax.tree.norm(optax.tree.sub(found, exact))
    assert float(difference) < 1e-2 * float(optax.tree.norm(exact))
