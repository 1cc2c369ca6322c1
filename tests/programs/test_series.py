"""Time series through the programs: training, with gaps and lags, and forecasts of a checkpoint."""

import csv
import json
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import run_lib
from benchmarks import series_forecasts, series_likelihood, series_refine
from core.files import read_json
from data.readers.series import read_series
from programs import sample
from programs.run import Run
from sampling.inverse.operators.mask import mask
from tests.support.configs import load
from tests.support.runs import asked, tiny, untrained

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


def test_a_file_of_ones_own_with_gaps_and_lags_is_trained_on_alike_by_one_device_and_by_eight(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{2000 + k // 12}-{k % 12 + 1:02d},{'' if k % 7 == 0 else rng.uniform(1, 2)}" for k in range(240)]
    (tmp_path / "own.csv").write_text("\n".join(["month,value", *rows]))
    config = small("own")
    config.data.update(dataset=f"series:{tmp_path / 'own.csv'}", shape=(24, 2), horizon=6, lags="12")
    losses = []
    for num in (8, 1):
        run_lib.train_run(Run(config, str(tmp_path / f"{num}"), jax.devices()[:num]))
        lines = map(json.loads, (tmp_path / f"{num}" / "metrics.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) == 2
    np.testing.assert_allclose(*losses, rtol=1e-5)  # sums in another order
    model = run_lib.load(tmp_path / "8")
    assert model.step == 2 and model.sample(3).shape == (3, 24, 2)


def test_a_network_that_is_conditioned_on_the_context_forecasts_from_it(tmp_path):
    """Samples follow the context by the network alone, and have nothing of the values that are forecast."""
    config = small("elnino")
    config.model.conditions = ("context:concat",)
    config.restore.method = "none"
    untrained(config, tmp_path / "run")
    values = np.random.default_rng(0).uniform(1, 2, 60)
    found = []
    for name, last in (("same", values[-1]), ("other", 1.9)):
        (tmp_path / f"{name}.csv").write_text(months([*values[:-1], last]))
        given = {"input": str(tmp_path / f"{name}.csv"), "num_samples": 2}
        folder = executed(tmp_path / "run", config, "forecast", tmp_path / name, **given)
        with np.load(folder / "samples.npz") as arrays:
            found.append(arrays["samples"] / np.abs(arrays["values"][:, :48]).mean())
    assert found[0].shape == (1, 2, 60, 1) and np.abs(found[0] - found[1]).max() > 1e-4
    batch = Run(config, str(tmp_path / "run")).system.context.splits.test.fetch(np.array([0]))
    seen, known = batch["context"][0].T
    assert (known == (np.arange(60) < 48)).all() and not seen[48:].any()
    np.testing.assert_allclose(seen[:48], (batch["x"][0, :48, 0] - 1) / 0.1, atol=1e-4)


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


@pytest.mark.parametrize("module", [series_refine, series_likelihood])
def test_benchmarks_of_a_run_print_their_tables(elnino, monkeypatch, capsys, module):
    if module is series_likelihood:
        pytest.importorskip("statsmodels")
    options = ["--samples=2"] if module is series_refine else ["--time=0.1"]
    monkeypatch.setattr(sys, "argv", [module.__name__, str(elnino), *options])
    module.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) in (5, 6) and "nan" not in "".join(rows)


def test_samples_of_a_forecast_follow_quantiles_of_their_own(elnino):
    """With a large scale, the first samples lie below the observed values and the last ones above."""
    model = run_lib.load(elnino, settings={"restore.observation_scale": 200.0})
    known = np.arange(60) < 48
    y = np.zeros((1, 60, 1), np.float32)
    x = model.restore(mask((60, 1), known[None, :, None]), y, num=9, prior_variance=1.0)[0, :, :48, 0]
    order = x.mean(axis=1)
    assert order[:3].mean() < order[-3:].mean()


def executed(folder, config, task, output, **options):
    run = Run.of_checkpoint(config, folder, 1)
    request = asked(run, task, **options)
    return sample.execute(run, request, sample.prepare(run, request), output=str(output))


def months(values):
    return "month,v\n" + "".join(f"{2000 + k // 12}-{k % 12 + 1:02d},{value}\n" for k, value in enumerate(values))


def test_a_forecast_of_ones_own_series_is_a_table_arrays_and_a_fan_chart(elnino, tmp_path):
    """In the units of each series; one with a gap in its context, beside one without."""
    values = np.random.default_rng(0).uniform(1, 2, 60)
    items = {"a": [*values[:50], None, *values[51:]], "b": list(1000 * values)}
    lines = [json.dumps({"item_id": name, "target": target}) for name, target in items.items()]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    given = {"input": str(tmp_path / "own.jsonl"), "num_samples": 3}
    folder = executed(elnino, small("elnino"), "forecast", tmp_path / "out", **given)
    rows = list(csv.DictReader((folder / "forecast.csv").open()))
    steps = [str(step) for step in range(1, 13)]
    assert [row["step"] for row in rows if row["item_id"] == "b"] == steps
    assert [row["step"] for row in rows if row["item_id"] == "a"] == ["-9", *steps]
    with np.load(folder / "samples.npz") as arrays:
        assert arrays["samples"].shape == (2, 3, 60, 1) and arrays["quantiles"].shape == (2, 9, 60, 1)
        last, known = arrays["samples"][1, :, -1, 0], arrays["values"][:, :48, 0]
    assert float(rows[-1]["mean"]) == pytest.approx(last.mean(), rel=1e-5)
    np.testing.assert_allclose(known[1], 1000 * values[12:], rtol=1e-5)
    assert np.isnan(known[0]).sum() == 1
    with Image.open(folder / "samples.png") as picture:
        assert picture.size == (750, 720)  # two panels


def test_missing_values_are_imputed_and_others_are_not(elnino, tmp_path):
    values = np.random.default_rng(0).uniform(1, 2, 70).round(3).tolist()
    (tmp_path / "own.csv").write_text(months([*values[:40], "", "", *values[42:]]))
    given = {"input": str(tmp_path / "own.csv"), "num_samples": 2}
    folder = executed(elnino, small("elnino"), "impute", tmp_path / "out", **given)
    rows = list(csv.DictReader((folder / "impute.csv").open()))
    assert [row["step"] for row in rows] == ["-29", "-28"]  # the last value is step 0


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Two series of 60 values, and forecasts of them, the last one with a gap."""
    folder, values = tmp_path_factory.mktemp("bases"), np.random.default_rng(0).uniform(1, 2, (3, 60))
    files = {
        "own.jsonl": [values[0], 100 * values[1]],
        "base.jsonl": [values[2, :12], 100 * values[2, 12:24]],
        "short.jsonl": [values[2, :11], values[2, :11]],
        "gap.jsonl": [[*values[2, :11], None], values[2, :12]],
        "other.jsonl": [values[2, :12]],
    }
    for name, targets in files.items():
        lines = [json.dumps({"item_id": "ab"[k], "target": list(target)}) for k, target in enumerate(targets)]
        (folder / name).write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("options", [{}, {"energy": "likelihood", "pull": "quantile", "temperature": 0.1}])
def test_a_forecast_is_refined(elnino, bases, tmp_path, options):
    """The known part stays as it is; the rest moves from the given forecast, in the units of each series."""
    given = {"input": str(bases / "own.jsonl"), "forecast": bases / "base.jsonl", "num_samples": 2, "num_steps": 2}
    folder = executed(elnino, small("elnino"), "refine", tmp_path / "out", step_size=1e-3, **given, **options)
    rows = list(csv.DictReader((folder / "refine.csv").open()))
    assert [row["item_id"] for row in rows] == ["a"] * 12 + ["b"] * 12
    base = [target for line in (bases / "base.jsonl").open() for target in json.loads(line)["target"]]
    found = np.array([float(row["mean"]) for row in rows])
    assert (found != base).all()
    np.testing.assert_allclose(found, base, rtol=0.1)  # two small steps
    with np.load(folder / "samples.npz") as arrays:
        known = np.array([json.loads(line)["target"] for line in (bases / "own.jsonl").open()])
        np.testing.assert_allclose(arrays["values"][:, :48, 0], known[:, 12:], rtol=1e-5)


REFINEMENTS = {
    "no forecast": ({"forecast": None}, "needs --request.forecast=FILE, series of the next 12 values"),
    "a short forecast": ({"forecast": "short"}, "forecast of a has 11 values of 1 channels, but the model refines 12"),
    "a gap": ({"forecast": "gap"}, "12 values of 1 channels, and some of them are missing"),
    "another series": ({"forecast": "other"}, "has forecasts of a, but none of b; give one for each series"),
    "an energy": ({"energy": "heat"}, "request.energy = 'heat'"),
    "a pull": ({"pull": "cubic"}, "request.pull = 'cubic'"),
    "a time": ({"time": 0.0}, "--request.time=0 was given, but it must be above 0 and at most 1"),
    "a step": ({"step_size": -1.0}, "--request.step_size=-1 was given, but it must be above 0"),
}


@pytest.mark.parametrize("name", REFINEMENTS)
def test_what_cannot_be_refined_is_refused(elnino, bases, tmp_path, name):
    options, message = REFINEMENTS[name]
    given = {"input": str(bases / "own.jsonl"), "forecast": "base"} | options
    given["forecast"] = given["forecast"] and bases / f"{given['forecast']}.jsonl"
    with pytest.raises(ValueError, match=message):
        executed(elnino, small("elnino"), "refine", tmp_path / "out", **given)


def test_synthetic_series_are_a_table_to_train_on(elnino, tmp_path):
    folder = executed(elnino, small("elnino"), "synthesize", tmp_path / "out", num_samples=3, scale=20.0)
    series = read_series(folder / "synthesize.csv")
    assert [(each.name, each.values.shape) for each in series] == [("0", (60, 1)), ("1", (60, 1)), ("2", (60, 1))]
    relative = run_lib.load(elnino).sample(3)
    np.testing.assert_allclose(np.stack([each.values for each in series]), 20 * relative, rtol=1e-5)
    with pytest.raises(ValueError, match="--input=x.csv was given; leave it out"):
        executed(elnino, small("elnino"), "synthesize", tmp_path / "other", input="x.csv")


def test_an_evaluation_has_forecasts_and_imputations_beside_baselines(elnino):
    """The same results with batches of another size; those of baselines are those of the benchmark."""
    config = small("elnino")
    config.eval.update(begin_ckpt=1, end_ckpt=1, posterior_samples=3, num_samples=16, batch_size=24)
    config.eval.tasks = ("forecast", "imputation", "synthesis")
    (path,) = run_lib.evaluate(config, elnino)
    results = read_json(path)["results"]
    ridge = results["forecast"]["forecast"]["ridge_bootstrap"]
    assert ridge["quantile_loss"]["value"] == pytest.approx(0.0295, abs=0.001)  # of docs/series.md
    naive = results["forecast"]["forecast"]["seasonal_naive"]
    assert naive["quantile_loss"]["value"] == pytest.approx(0.053, abs=0.0005)
    for kind in ("random", "block"):
        scores = results["imputation"][kind]
        assert scores["linear_interpolation"]["crps"]["value"] < scores["model"]["crps"]["value"]  # untrained
        assert 0 <= scores["model"]["interval_90"]["value"] <= 1
    assert results["synthesis"]["predictive_score_of_real"]["value"] == pytest.approx(0.88, abs=0.005)
    assert results["synthesis"]["predictive_ratio"] > 1
    config.eval.batch_size = 8
    (other,) = run_lib.evaluate(config, elnino, "other")
    again = read_json(other)["results"]["forecast"]["forecast"]["model"]["crps"]["value"]
    assert again == pytest.approx(results["forecast"]["forecast"]["model"]["crps"]["value"], rel=1e-5)


CASES = {
    "a short series": ("forecast", months(range(1, 40)), "own has 39 values, but the context of the model needs 48"),
    "no known context": ("forecast", months([*range(1, 40), *[""] * 48]), "no known value among the last 48"),
    "nothing to impute": ("impute", months(range(1, 80)), "no missing value among its last 60; nothing to impute"),
    "two channels": ("forecast", "a,b\n" + "1,2\n" * 70, r"has 2 channels, but the model was trained on .*\(60, 1\)"),
}


@pytest.mark.parametrize("name", CASES)
def test_series_that_do_not_fit_are_refused(elnino, tmp_path, name):
    task, text, message = CASES[name]
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        executed(elnino, small("elnino"), task, tmp_path / "out", input=str(tmp_path / "own.csv"))


def test_a_model_of_images_has_no_forecasts(tmp_path):
    untrained(tiny(), tmp_path)
    with pytest.raises(ValueError, match="--task=forecast needs a model of time series, .* was trained on synthetic"):
        executed(tmp_path, tiny(), "forecast", tmp_path / "out")
