"""Time series through the programs: training, with gaps and lags, and forecasts of a checkpoint."""

import sys

import numpy as np
import pytest

import run_lib
from benchmarks import series_forecasts
from sampling.inverse.operators.mask import mask
from tests.support.configs import load
from tests.support.runs import untrained

SMALL = {"nf": 4, "num_res_blocks": 1, "state_size": 4, "num_scales": 6, "beta_max": 4.0}


def small(name):
    config = load(f"configs/tsdiff/{name}.py")
    config.model.update(**SMALL)
    config.training.update(batch_size=8, n_iters=2, snapshot_freq=2, snapshot_freq_for_preemption=2, log_freq=1)
    config.training.update(eval_freq=2, snapshot_sampling=False)
    config.sampling.num_steps = 6
    config.eval.batch_size = 8
    return config


@pytest.fixture(scope="module")
def elnino(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elnino")
    untrained(small("elnino"), folder)
    return folder


def test_a_file_of_ones_own_with_gaps_and_lags_is_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{2000 + k // 12}-{k % 12 + 1:02d},{'' if k % 7 == 0 else rng.uniform(1, 2)}" for k in range(240)]
    (tmp_path / "own.csv").write_text("\n".join(["month,value", *rows]))
    config = small("own")
    config.data.update(dataset=f"series:{tmp_path / 'own.csv'}", shape=(24, 2), horizon=6, lags="12")
    run_lib.train(config, tmp_path / "run")
    model = run_lib.load(tmp_path / "run")
    assert model.step == 2 and model.sample(3).shape == (3, 24, 2)


def test_what_is_wrong_with_a_file_is_said_before_anything_is_compiled(tmp_path):
    (tmp_path / "own.csv").write_text("time,v\n2000,1\n2001,much\n")
    config = small("own")
    config.data.dataset = f"series:{tmp_path / 'own.csv'}"
    with pytest.raises(ValueError, match="has 'much' in row 3, but numbers are expected"):
        run_lib.train(config, tmp_path / "run")


@pytest.mark.parametrize("way", ["quantile, scale 4", "replacement, 1 Langevin"])
def test_one_checkpoint_forecasts_and_imputes(elnino, monkeypatch, capsys, way):
    for task in ("forecast", "random"):
        given = [str(elnino), "--samples=3", "--task", task, "--ways", way]
        monkeypatch.setattr(sys, "argv", ["benchmarks.series_forecasts", *given])
        series_forecasts.main()
        rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        assert any(row.startswith(f"| {way} |") for row in rows) and "nan" not in "".join(rows)


def test_samples_of_a_forecast_follow_quantiles_of_their_own(elnino):
    """With a large scale, the first samples lie below the observed values and the last ones above."""
    model = run_lib.load(elnino, settings={"restore.observation_scale": 200.0})
    known = np.arange(60) < 48
    y = np.zeros((1, 60, 1), np.float32)
    x = model.restore(mask((60, 1), known[None, :, None]), y, num=9, prior_variance=1.0)[0, :, :48, 0]
    order = x.mean(axis=1)
    assert order[:3].mean() < order[-3:].mean()
