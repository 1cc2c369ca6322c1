"""Causal systems through the programs: own images with a table and a graph, and a model with closed forms."""

import csv
import json
import logging

import jax
import numpy as np
import pytest
from PIL import Image

import run_lib
from builders.learned import of_network
from core.keys import example_keys
from programs import restore_run, sample
from programs.run import Run
from runtime.devices import Devices
from sampling import latent
from sampling.latent import Endpoint
from tests.support import linear_causal
from tests.support.configs import load
from tests.support.runs import asked, tiny, untrained

NUM, NAMES = 40, ("height", "tilt")


def images_of(folder, marked=True):
    """40 gray images as bright as their height; every third has no tilt, which a column marks."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = [["file_name", *NAMES, *(("tilt_mask",) if marked else ())]]
    for k in range(NUM):
        height = k / NUM
        pixels = np.round(200 * height + rng.uniform(0, 50, (8, 8))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{k:02d}.png")
        tilt = f"{2 * height + rng.normal():.4f}"
        given = ["" if k % 3 == 0 else tilt, *([int(k % 3 > 0)] if marked else [])]
        lines.append([f"{k:02d}.png", f"{height:.4f}", *given])
    with open(folder / "images" / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder / "images"


def config_of(images):
    config = tiny()
    config.system = "causal_diffae"
    config.data.update(dataset=f"folder:{images}", num_channels=1)
    config.causal.update(variables=NAMES, graph=("height->tilt",), encoder_nf=4, mechanism_width=4, encoder="patch")
    config.sampling.update(method="ode", rtol=1e-2, atol=1e-2)
    config.training.update(n_iters=4, log_freq=2, snapshot_freq=4, snapshot_freq_for_preemption=2, eval_freq=0)
    config.training.update(batch_size=8, snapshot_sampling=False)
    config.eval.update(batch_size=4, tasks=("loss", "counterfactual"), end_ckpt=1, enable_metrics=False)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal")
    run = Run(config_of(images_of(folder)), folder / "run", jax.devices()[:1])
    run_lib.train_run(run)
    return run


def executed(run, folder, **options):
    request = asked(run, "counterfactual", **options)
    directory = sample.execute(run, request, sample.prepare(run, request), output=str(folder))
    return directory, np.load(directory / "samples.npz")


def test_labels_are_scaled_by_the_training_images_that_have_them(trained):
    labels = restore_run.restore(trained.workdir).variables["labels"]
    batch = trained.train.fetch(np.arange(len(trained.train)))
    known = batch["tilt_mask"] > 0
    assert 0 < known.sum() < len(known)
    expected = [batch["height"].mean(), batch["tilt"][known].mean()]
    np.testing.assert_allclose(labels["mean"], expected, rtol=1e-5)
    np.testing.assert_allclose(labels["high"], [batch["height"].max(), batch["tilt"][known].max()], rtol=1e-6)


def test_a_counterfactual_sets_one_variable_and_shifts_another(trained, tmp_path):
    directory, found = executed(trained, tmp_path / "out", input="test:0,1,2,3", do=("height=0.5", "tilt+=1"))
    labels = restore_run.restore(trained.workdir).variables["labels"]
    height, tilt = found["z_after"][:, 0, 0, 0], found["z_after"][:, 0, 1, 0]
    np.testing.assert_allclose(height, (0.5 - labels["mean"][0]) / labels["std"][0], rtol=1e-5)
    assert np.all(tilt != found["z"][:, 1, 0])
    assert found["arr_0"].shape == (4, 1, 8, 8, 1) and found["arr_0"].dtype == np.uint8
    rows = list(csv.DictReader((directory / "attributes.csv").open()))
    assert len(rows) == 8 and rows[1]["do"] == "height=0.5 tilt+=1" and float(rows[1]["height"]) == pytest.approx(0.5)
    assert (directory / "samples.png").stat().st_size > 100


def test_a_range_is_traversed_and_values_beyond_the_training_data_are_warned_of(trained, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _, found = executed(trained, tmp_path / "out", input="test:0,1", do=("height=0:1.2",), num_samples=2)
    assert found["arr_0"].shape == (2, 2, 8, 8, 1)
    said = [record.getMessage() for record in caplog.records if "outside of the range" in record.getMessage()]
    assert len(said) == 1 and said[0].startswith("height = 1.2 is outside of the range of the training data, 0.0")
    with pytest.raises(ValueError, match="height = 9 is outside .* by more than its width; give values within it"):
        executed(trained, tmp_path / "far", input="test:0,1", do=("height=9",))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "needs --do=NAME=VALUE, with any of height, tilt"),
        ({"do": ("hight=1",)}, r"--do=hight=1 names 'hight', but the variables are height, tilt \(nearest: height\)"),
        ({"do": ("height=tall",)}, "--do=height=tall is not understood; give NAME=VALUE"),
        ({"do": ("height=nan",)}, "--do=height=nan is not understood"),
        ({"do": ("height+=0:1",)}, "is not understood"),
        ({"do": ("height",)}, "--do=height is not understood"),
        ({"do": ("height=1", "height=2")}, "has 'height' twice"),
        ({"do": ("height=0:1", "tilt=0:1")}, "range FIRST:LAST of several variables; give it for one"),
        ({"do": ("height=1",), "labels": (1,)}, "not class-conditional"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_compiled(trained, options, expected):
    with pytest.raises(ValueError, match=expected):
        sample.prepare(trained, asked(trained, "counterfactual", input="test:0", **options))


def test_other_samplers_guidance_and_data_without_labels_are_refused(trained, tmp_path):
    images = trained.config.data.dataset.removeprefix("folder:")
    config = config_of(images)
    config.sampling.method = "pc"
    run = Run(config, tmp_path / "run", jax.devices()[:1])
    with pytest.raises(ValueError, match=r"config.sampling.method = 'pc' cannot be inverted; add --config.sampling"):
        sample.prepare(run, asked(run, "counterfactual", input="test:0", do=("height=1",)))
    config = config_of(images)
    config.sampling.update(guidance="autoguidance", guide_workdir="elsewhere")
    with pytest.raises(ValueError, match="has none or classifier_free; use one of them"):
        _ = Run(config, tmp_path / "run", jax.devices()[:1]).system
    config = config_of(images_of(tmp_path, marked=False))
    with pytest.raises(ValueError, match=r"line 2 of .*metadata.csv has the value nan in tilt.*mark missing values"):
        _ = Run(config, tmp_path / "run", jax.devices()[:1]).system


def test_the_network_is_gathered_once_and_the_metrics_of_its_objective_are_kept(trained, tmp_path, monkeypatch):
    gathered = []
    monkeypatch.setattr(Devices, "gather_params", lambda self, params: gathered.append(params) or params)
    config = config_of(trained.config.data.dataset.removeprefix("folder:"))
    config.training.uncertainty = True
    system = Run(config, tmp_path / "run", jax.devices()[:1]).system
    variables, batch = jax.eval_shape(system.init, jax.random.key(0)), trained.train.fetch(np.arange(2))
    keys = example_keys(jax.random.key(0), 2)
    found = jax.eval_shape(lambda variables: system.terms(variables, keys, batch, None, 0), variables)
    assert set(found.metrics) == {"plain_loss", "label_error"}
    kernels = [leaf for leaf in jax.tree.leaves(of_network(variables["params"]["network"])) if leaf.ndim > 1]
    in_network = [leaf for part in gathered if "encoder" not in part for leaf in jax.tree.leaves(part)]
    assert len([leaf for leaf in in_network if leaf.ndim > 1]) == len(kernels) > 0
    (beside,) = (part for part in gathered if "encoder" in part)
    assert set(beside) == {"encoder", "causal"}


def test_codes_are_solved_as_config_sampling_says(trained, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(latent, "encode", lambda *given, **options: seen.append(options) or Endpoint(given[2], 0))
    for k, config in enumerate((config_of(trained.config.data.dataset.removeprefix("folder:")), tiny())):
        config.sampling.update(method="ode", ode_solver="heun", ode_per_example=True)
        system = Run(config, tmp_path / str(k), jax.devices()[:1]).system
        x = np.zeros((2, *system.spec.shape), np.float32)
        if system.density is None:
            system.to_code({"params": {"network": {}}}, x, np.zeros((2, 2, 1), np.float32))
        else:
            system.density.encode({"params": {}}, x)
    assert [(options["solver"], options["per_example"]) for options in seen] == [("heun", True)] * 2


def test_without_a_known_truth_effects_are_measured_by_the_encoder(trained):
    (report,) = run_lib.evaluate_run(trained, "eval")
    found = json.loads(report.read_text())["results"]
    assert found["loss"].keys() >= {"score_matching_mean", "noise_kl_mean", "label_kl_mean"}
    results = found["counterfactual"]
    assert results["effect"]["value"] > 0 and results["interventions"].keys() == {"height"}
    assert "nuisance" not in results and results["null_psnr"]["value"] > 10
    trained.system.config.eval.ablations = ("label_conditional",)  # of the system built already
    with pytest.raises(ValueError, match="needs data whose counterfactuals are known, such as pendulum"):
        trained.system.evaluations["counterfactual"](1, None)


def test_samples_follow_the_structural_model_and_what_is_set_in_it(trained):
    system, variables = trained.system, restore_run.restore(trained.workdir).variables

    def moved(leaf):  # z has no effect at first
        return leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)

    network = jax.tree.map(moved, variables["params"]["network"])
    variables = {**variables, "params": {**variables["params"], "network": network}}
    keys = example_keys(jax.random.key(0), 4)
    free, same, fixed = (
        np.asarray(system.generate(variables, keys, asked)["samples"]) for asked in (None, {}, {"height": np.ones(4)})
    )
    np.testing.assert_array_equal(free, same)
    assert (free != fixed).any()


def test_with_the_true_encoder_counterfactuals_of_a_linear_model_are_exact(tmp_path):
    """(a, b, c, w) with a set, b set, and a shifted: the noise of all else, and w, stay; tolerance 1e-5, float32."""
    found = linear_causal.examples(60)
    np.savez(tmp_path / "data.npz", **found)
    config = load("configs/vp/smoke.py")
    config.system = "tests.support.linear_causal:Exact"
    config.data.update(dataset=f"npz:{tmp_path / 'data.npz'}", uniform_dequantization=False)
    config.causal.update(variables=linear_causal.NAMES, graph=linear_causal.EDGES, mechanism="linear")
    config.model.update(name="perceptron", nf=4, num_res_blocks=1)
    config.training.sde = "cosine"  # at t = 1, of VP 0.7% of the data would be left, which the ODE takes for noise
    config.sampling.update(method="ode", rtol=1e-6, atol=1e-6, eps=1e-7)
    config.eval.batch_size = 6
    run = untrained(config, tmp_path / "run")
    system = run.system
    variables = system.truth(restore_run.restore(tmp_path / "run").variables)
    x = run.test.fetch(np.arange(6))["x"]
    a, b, c, w = x.T
    u_b, u_c = b - linear_causal.B * a - linear_causal.OFFSET, c - linear_causal.C * b - linear_causal.OFFSET

    def model(a, b=None):
        b = linear_causal.B * a + linear_causal.OFFSET + u_b if b is None else b
        return np.stack([a, b, linear_causal.C * b + linear_causal.OFFSET + u_c, w], axis=1)

    two = np.full(6, 2.0)
    cases = {("a=2",): model(two), ("b=2",): model(a, two), ("a+=0.5",): model(a + 0.5)}
    cases["a=2", "b=2"] = model(two, two)
    np.save(tmp_path / "x.npy", x)
    for do, exact in cases.items():
        request = asked(run, "counterfactual", input=str(tmp_path / "x.npy"), do=do)
        result = sample.prepare(run, request)(variables, 1)
        np.testing.assert_allclose(result.arrays["arr_0"][:, 0], exact, atol=1e-5)
