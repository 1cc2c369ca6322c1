"""Data of every kind given by a path, through the programs: twenty steps, samples, bits or nats per dimension."""

import json
from typing import NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

import run_lib
from builders import data
from builders.data import to_model
from builders.shape import data_shape
from configs import default
from configs.vp import smoke
from corruption.predictions import from_score
from programs import inspect, restore_run
from programs.run import Run
from tests.support import perceptron
from tests.support.configs import load


class Case(NamedTuple):
    """The contents of an array, and the network for it."""

    shape: tuple[int, ...]
    dtype: str
    num_labels: int = 0
    network: str = perceptron.NAME


CASES = [
    Case((7, 5, 2), "uint16", num_labels=3),
    Case((5, 6, 1), "uint8"),
    Case((8, 8, 3), "float32", num_labels=2),
    Case((3, 9, 4), "uint8", num_labels=2),
    Case((4, 4, 5), "float32"),
    Case((6, 4, 3), "uint16"),
    Case((16, 2), "uint8", num_labels=2),
    Case((11, 1), "float32"),
    Case((4, 3, 5, 1), "uint8"),
    Case((12,), "float32", num_labels=2, network="mlp"),
    Case((9,), "uint16", network="mlp"),
]
LEVELS = {"uint8": 256, "uint16": 65536, "float32": 0}
NUM = 40


def values(case):
    """Uniform levels, or standard normal floats with mean 3."""
    rng = np.random.default_rng(0)
    shape = (NUM, *case.shape)
    if case.dtype == "float32":
        return (3 + rng.normal(size=shape)).astype(case.dtype)
    return rng.integers(0, LEVELS[case.dtype], shape, case.dtype)


def config_of(case, path):
    config = smoke.get_config()
    labels = {"y": np.arange(NUM) % case.num_labels} if case.num_labels else {}
    np.savez(path, x=values(case), **labels)
    config.data.dataset = f"npz:{path}"
    config.model.num_labels = case.num_labels
    if case.dtype == "float32":
        config.data.update(offset=3.0, scale=1.0)
    config.training.update(n_iters=20, snapshot_freq=20, log_freq=10, eval_freq=0, snapshot_freq_for_preemption=20)
    config.training.snapshot_num_samples = 8  # as many as in the evaluation, so that one compilation is enough
    config.eval.update(enable_loss=False, batch_size=8, num_samples=8)
    return config


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_trains_samples_and_has_a_likelihood(case, tmp_path):
    config = config_of(case, tmp_path / "x.npz")
    config.model.name = case.network
    run = Run(config, str(tmp_path / "run"), jax.devices()[:1])
    assert data_shape(run.config) == run.train.shape == case.shape
    run_lib.train_run(run)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20] and all(np.isfinite(line["loss"]) for line in lines)
    with Image.open(tmp_path / "run" / "samples" / "snapshot_1.png") as grid:
        assert min(grid.size) > 2 * min(case.shape[:-1] or case.shape)
    (report,) = run_lib.evaluate_run(run)
    samples = np.load(report.parent / "samples.npz")["arr_0"]
    assert samples.shape == (8, *case.shape) and samples.dtype == case.dtype and len(np.unique(samples)) > 1
    results = json.loads(report.read_text())["results"]
    levels = LEVELS[case.dtype]
    if levels:
        # No model has less than the entropy of uniform levels, and an untrained one has somewhat more. The estimate
        # is from 4 examples: a tenth of a bit is several standard errors.
        estimate = results["bits_per_dim"]
        assert np.log2(levels) - 0.1 < estimate["mean"] < np.log2(levels) + 10 and "nats_per_dim" not in results
    else:
        # The entropy of a standard normal is 1.42 nats; 4 examples have 0.71 / sqrt(4 D) around it.
        estimate = results["nats_per_dim"]
        assert 1.0 < estimate["mean"] < 12 and "bits_per_dim" not in results
    assert estimate["num_examples"] == NUM // 10 and estimate["num_nonfinite"] == 0


def test_all_fields_reach_the_objective_and_the_checkpoint(tmp_path):
    """In training, in the test loss, and in the evaluation of the loss."""
    case = Case((9,), "uint16", network="mlp")
    config = config_of(case, tmp_path / "x.npz")
    further = {
        "tokens": np.arange(NUM * 3).reshape(NUM, 3),
        "age": np.linspace(0, 1, NUM),
        "mask": np.ones((NUM, 9), bool),
    }
    np.savez(tmp_path / "x.npz", x=values(case), **further)
    config.model.name = case.network
    config.training.update(n_iters=2, log_freq=1, snapshot_freq=2, eval_freq=2, snapshot_sampling=False)
    config.eval.update(tasks=("loss",), begin_ckpt=1, end_ckpt=1)
    run, seen = Run(config, str(tmp_path / "run"), jax.devices()[:1]), []
    objective = run.system.objective

    def recorded(variables, keys, batch, dropout_key, step):
        seen.append(({name: (a.dtype.name, a.shape[1:]) for name, a in batch.items()}, dropout_key is not None))
        return objective(variables, keys, batch, dropout_key, step)

    run.system.objective = recorded
    run_lib.train_run(run)
    run_lib.evaluate_run(run)
    fields = {name: (field.dtype, field.shape) for name, field in run.train.fields.items()}
    assert fields.keys() == {"x", "label", *further} and {training for _, training in seen} == {True, False}
    assert all(fields.items() <= found.items() for found, _ in seen)
    assert restore_run.about(tmp_path / "run").spec == run.spec and run.spec.fields == run.train.fields


def test_the_likelihood_of_floats_is_of_the_data_as_given(tmp_path):
    """Data ten times as large have ln 10 more nats per dimension; the input of the network is the same."""
    case = Case((2, 2, 1), "float32")
    found = []
    for factor in (1.0, 10.0):
        config = config_of(case, tmp_path / "x.npz")
        np.savez(tmp_path / "x.npz", x=factor * values(case))
        config.data.update(offset=3.0 * factor, scale=factor)
        run = Run(config, str(tmp_path), jax.devices()[:1])
        batch = run.test.fetch(np.arange(4))
        keys = jax.random.split(jax.random.key(0), 4)
        gaussian = from_score(lambda x, t: -x, run.system.sde)  # a standard normal at every time
        found.append(run.system.measure_bits_per_dim(gaussian, keys, batch["x"])["nats_per_dim"])
        np.testing.assert_allclose(run.system.to_data(to_model(config, 0)(batch["x"])), batch["x"], rtol=1e-5)
    np.testing.assert_allclose(found[1] - found[0], np.log(10), rtol=1e-4)  # float32, and the steps of the solver
    x = values(case)[:: NUM // 4][:4].reshape(4, -1) - 3
    expected = 0.5 * np.log(2 * np.pi) + 0.5 * (x**2).mean(axis=1)
    np.testing.assert_allclose(found[0], expected, atol=1e-2)  # the tolerance of the solver in this config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.scale": 2.0}, "config.data.offset = 0.0 and config.data.scale = 2.0 are for floats, but the data have"),
        ({"data.resize": "cut"}, "config.data.resize = 'cut' is not known; choose one of crop, stretch"),
        (
            {"data.on_corrupt": "skp"},
            "config.data.on_corrupt = 'skp' is not known; choose one of refuse, skip (nearest",
        ),
        ({"data.shape": (3, 3, 2)}, "config.data.shape = (3, 3, 2), but "),
        (
            {"model.ch_mult": (1, 2)},
            "config.data.shape = (7, 5, 2) cannot be halved 1 times; use a multiple of 2 (such",
        ),
        ({"model.num_labels": 4}, "config.model.num_labels = 4, but npz:"),
        ({"data.test_every": -1}, "config.data.test_every = -1, but it must not be negative."),
        (
            {"data.shape": (70,)},
            "config.model.name = 'ncsnpp' is for series (L, C), images (H, W, C), volumes (D, H, W, C), but",
        ),
    ],
)
def test_settings_that_do_not_fit_the_data_are_named(tmp_path, settings, message):
    config = config_of(Case((7, 5, 2), "uint8", num_labels=3), tmp_path / "x.npz")
    for key, value in settings.items():
        section, name = key.split(".")
        config[section][name] = value
    with pytest.raises(ValueError) as error:
        Run(config, str(tmp_path), jax.devices()[:1])
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_config_without_data_of_its_own_says_how_to_give_them(tmp_path):
    config = load("configs/subvp/pictures_ddpmpp_continuous.py")
    for program in (lambda: Run(config, str(tmp_path), jax.devices()[:1]), lambda: inspect.inspect(config)):
        with pytest.raises(ValueError, match="is empty, .* give --config.data.dataset=folder:YOUR_FOLDER, .* or zip:"):
            program()


def test_floats_refuse_what_needs_levels(tmp_path):
    config = config_of(Case((2, 2, 1), "float32"), tmp_path / "x.npz")
    config.eval.dequantization = "variational"
    with pytest.raises(ValueError, match="'variational' .* but the data are floats, which are not dequantized"):
        Run(config, str(tmp_path), jax.devices()[:1])


def test_completing_the_config_again_changes_nothing(tmp_path):
    config = config_of(CASES[0], tmp_path / "x.npz")
    data.resolve(config)
    first = default.to_json(config)
    assert first["data"]["shape"] == [7, 5, 2] and first["data"]["num_levels"] == 65536
    data.resolve(config)
    assert default.to_json(config) == first
    restored = default.from_json(first)
    assert data_shape(restored) == (7, 5, 2)
