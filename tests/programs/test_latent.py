"""Tokenizers, and models of what they encode: trained, evaluated, sampled, encoded, and refused."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import presets
from core.errors import ExitCode
from core.keys import LikelihoodKey, example_keys, fold_in
from data.pipeline import eval_batch
from data.readers.encoded import read_about
from data.stock import load
from evaluation.rounds import Worker
from programs import encode, evaluate, restore_run, sample
from programs.run import Run
from reports.records import read_checkpoint
from tests.support import external_autoencoder
from tests.support.configs import load as load_config
from tests.support.latents import prior_config, started, tokenizer_config, trained
from tests.support.oracles import Gaussian
from tests.support.runs import asked

OWN = external_autoencoder.__name__


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A trained tokenizer of 16 codes; no test changes its workdir."""
    workdir = tmp_path_factory.mktemp("tokenizer")
    trained(tokenizer_config(codebook="average", restart_below=0.1), workdir)
    return workdir


@pytest.fixture(scope="module")
def rotation(tmp_path_factory):
    """All principal components of patches."""
    return started(tmp_path_factory, "pca", dim=12)


def of_checkpoint(workdir, number=None):
    return Run(restore_run.about(workdir, number).config, str(workdir), jax.devices()[:1])


def params_of(workdir):
    return jax.device_get(restore_run.restore(workdir).variables["params"])


def test_a_tokenizer_is_evaluated_by_reconstructions_codes_and_their_distance(tokenizer, tmp_path):
    workdir = shutil.copytree(tokenizer, tmp_path / "run")
    run = evaluate.prepare(tokenizer_config(codebook="average", restart_below=0.1), workdir)
    for index in (0, 1):
        evaluate.evaluate(run, f"eval_{index}", Worker(index, 2))
    first, second = (workdir / f"eval_{index}" / "ckpt_2" for index in (0, 1))
    assert (first / "report.json").read_bytes() == (second / "report.json").read_bytes()
    for task in ("loss", "reconstruction", "codes", "rfid"):
        for path in (first / task).glob("round_*.npz"):
            assert path.read_bytes() == (second / task / path.name).read_bytes()
    results = read_checkpoint(first / "report.json").report["results"]
    assert results["reconstruction"]["psnr"]["value"] > 5 and 0 < results["codes"]["usage"]["value"] <= 1
    assert 1 <= results["codes"]["perplexity"]["value"] <= 16 and results["rfid"]["fid"]["value"] > 0


def test_one_and_eight_devices_train_the_same_tokenizer(tmp_path):
    """Shares of codes, sums of features and restarts are those of the whole batch."""
    config = tokenizer_config(codebook="average", restart_below=0.9)
    runs = [trained(config, tmp_path / str(num), num) for num in (1, 8)]
    lines = [(run.workdir / "metrics.jsonl").read_text().splitlines() for run in runs]
    for one, eight in zip(*lines, strict=True):
        one, eight = json.loads(one), json.loads(eight)
        for name in (name for name in one if "loss" in name or name in ("usage", "perplexity")):
            assert eight[name] == pytest.approx(one[name], rel=1e-5), name
    first, second = (restore_run.restore(run.workdir).variables["codebook"] for run in runs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), first, second)


def test_reconstructions_of_given_examples_have_their_codes(tokenizer):
    run = of_checkpoint(tokenizer)
    request = asked(run, "reconstruct", input="test:0,1,2")
    folder = sample.execute(run, request, sample.prepare(run, request), output=str(tokenizer / "sample"))
    with np.load(folder / "samples.npz") as found:
        assert found["codes"].shape == (3, 4, 4, 1) and found["arr_0"].shape == (3, 8, 8, 3)


def test_refit_starts_from_the_encoder_of_another_run_and_trains_the_rest(tokenizer, tmp_path):
    config = tokenizer_config(num_codes=8)
    config.training.init_from = str(tokenizer)
    config.optim.frozen = ("encoder/*",)
    trained(config, tmp_path)
    first, second = (params_of(workdir) for workdir in (tokenizer, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, first["encoder"], second["encoder"])
    assert second["codebook"]["vectors"].shape == (8, 3)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(first["decoder"]), jax.tree.leaves(second["decoder"]), strict=True)
    )


@pytest.mark.parametrize(("quantizer", "settings"), [("kl", {}), ("pca", {"dim": 12})])
def test_a_score_model_of_latents_is_one_of_the_data(quantizer, settings, tmp_path_factory, tmp_path):
    source = shutil.copytree(started(tmp_path_factory, quantizer, **settings), tmp_path / "tokenizer")
    run = trained(prior_config(source), tmp_path / "prior")
    shutil.rmtree(source)  # the prior stands alone
    config = prior_config(source)
    config.eval.update(enable_metrics=True, metrics=("fid",))
    checked = evaluate.prepare(config, tmp_path / "prior")
    (report,) = evaluate.evaluate(checked)
    results = json.loads(report.read_text())["results"]
    assert np.isfinite(results["bits_per_dim"]["mean"]) and results["metrics"]["samples"]["fid"]["value"] > 0
    with np.load(report.parent / "samples" / "round_00000.npz") as found:
        assert found["samples"].shape[1:] == (8, 8, 3) and found["samples"].dtype == np.uint8
    request = asked(checked, "unconditional", num_samples=4)
    folder = sample.execute(checked, request, sample.prepare(checked, request))
    assert (folder / "samples.png").exists() and (run.workdir / "samples").exists()


def test_the_bits_of_a_rotation_are_those_of_the_pixels(rotation, tmp_path):
    """A network that predicts no noise has a normal density, which a rotation does not change."""
    config = prior_config(rotation, **{"training.sde": "vpsde", "eval.bpd_method": "ode"})
    run = Run(config, str(tmp_path), jax.devices()[:1])
    system = run.system
    variables = {**system.init(run.key), "frozen": {"tokenizer": system.frozen["tokenizer"].variables}}
    batches = lambda num: [eval_batch(run.train, k, 16) for k in range(min(num, 2))]  # noqa: E731
    variables = system.warm_start(variables, batches)
    variables["params"] = jax.tree.map(jnp.zeros_like, variables["params"])
    batch, keys = system.on_devices(eval_batch(run.test, 0, 8)), example_keys(jax.random.key(5), 8)
    found = np.asarray(system.bits_per_dim(variables, keys, batch)["bits_per_dim"])

    z = np.asarray(system.codec.encode(variables, batch["x"], fold_in(keys, LikelihoodKey.DATA)), np.float64)
    statistics = jax.tree.map(np.asarray, variables["latents"])
    D, sde, eps = 8 * 8 * 3, system.inner.sde, config.eval.bpd_eps
    pixels = np.asarray(
        system.codec.tokenizer.decode(variables["frozen"]["tokenizer"], system.codec.unscaled(variables, z))
    )
    center = np.asarray(
        system.codec.tokenizer.decode(
            variables["frozen"]["tokenizer"], jnp.broadcast_to(statistics["offset"], (1, *z.shape[1:]))
        )
    )
    ratio = float(sde.mean_coeff(jnp.float32(1)) / sde.mean_coeff(jnp.float32(eps))) / float(statistics["scale"])
    squares = ((pixels - center) ** 2).reshape(8, -1).sum(1) * ratio**2
    logp = -0.5 * squares - 0.5 * D * np.log(2 * np.pi) + D * np.log(ratio)
    expected = -(logp + D * np.log(2 / 256)) / (D * np.log(2))  # a cell is 2/256 wide in [-1, 1]
    np.testing.assert_allclose(found, expected, atol=2e-3)  # tolerances of the solver, 1e-2 of nats per dimension


def test_a_gaussian_of_all_components_has_the_bits_of_that_of_the_pixels(rotation, tmp_path, monkeypatch):
    """The exact scores of one Gaussian, in the coordinates of latents; its density, in those of pixels."""
    settings = {"training.sde": "vpsde", "model.beta_max": 20.0, "eval.bpd_method": "ode", "eval.divergence": "exact"}
    run = Run(prior_config(rotation, **settings), str(tmp_path), jax.devices()[:1])
    system, rng, D = run.system, np.random.default_rng(0), 8 * 8 * 3
    frozen = {"frozen": {"tokenizer": system.frozen["tokenizer"].variables}}
    variables = {"params": {}, **frozen, **system.codec.statistics(frozen, [eval_batch(run.train, 0, 16)])}
    linear = rng.normal(scale=0.4 / np.sqrt(D), size=(D, D))
    mean, cov = rng.normal(scale=0.1, size=D), linear @ linear.T + 0.05 * np.eye(D)  # of pixels in [-1, 1]
    decode = jax.jit(lambda z: system.codec.tokenizer.decode(frozen["frozen"]["tokenizer"], z))
    zero = np.asarray(decode(system.codec.unscaled(variables, jnp.zeros((1, 4, 4, 12))))).reshape(D)
    basis = np.asarray(decode(system.codec.unscaled(variables, jnp.eye(D).reshape(D, 4, 4, 12)))).reshape(D, D) - zero
    inverse = np.linalg.inv(basis.astype(np.float64))  # pixels = zero + z basis
    latent = Gaussian((mean - zero) @ inverse, inverse.T @ cov @ inverse)
    oracle = latent.predict(system.inner.sde)
    monkeypatch.setattr(system.inner, "predict_of", lambda params, batch, key: oracle)
    batch, keys = system.on_devices(eval_batch(run.test, 0, 8)), example_keys(jax.random.key(5), 8)
    found = system.bits_per_dim(variables, keys, batch)["bits_per_dim"]

    z = system.codec.encode(variables, batch["x"], fold_in(keys, LikelihoodKey.DATA))
    pixels = np.asarray(decode(system.codec.unscaled(variables, z)), np.float64).reshape(8, D)
    logp = Gaussian(mean, cov).data_logp(pixels)
    expected = -(logp + D * np.log(2 / 256)) / (D * np.log(2))  # a cell is 2/256 wide in [-1, 1]
    np.testing.assert_allclose(found, expected, atol=5e-3)  # tolerances of the solver, and noise at time eps


def test_values_come_back_from_latents_of_a_rotation(rotation, tmp_path):
    run = Run(prior_config(rotation), str(tmp_path), jax.devices()[:1])
    system, values = run.system, jnp.asarray(run.test.fetch(np.arange(4))["x"])
    frozen = {"frozen": {"tokenizer": system.frozen["tokenizer"].variables}}
    statistics = system.codec.statistics(frozen, [{"x": values}])
    variables = {**frozen, **statistics}
    z = system.encode(variables, values)
    np.testing.assert_array_equal(system.decode(variables, z), values)
    assert abs(float(jnp.std(z)) - 1) < 1e-3 and np.abs(np.asarray(z).reshape(-1, 12).mean(0)).max() < 1e-3


def test_an_encoded_data_set_is_data_for_another_model(tokenizer, tmp_path):
    run = of_checkpoint(tokenizer)
    folder = encode.encode(run, tmp_path / "codes")
    about, source = read_about(folder), load(f"encoded:{folder}", "train")
    assert about["shape"] == source.shape == (4, 4, 1) and about["num_codes"] == source.num_levels == 16
    assert len(source) == len(run.train) and about["statistics"]["train"]["codes_in_use"] <= 16
    system, rows = run.system, np.array([0, 5])
    frozen = Run(prior_config(tokenizer), str(tmp_path / "x"), jax.devices()[:1]).system.frozen["tokenizer"].variables
    expected = system.codes(frozen, jnp.asarray(run.train.fetch(rows)["x"]))
    np.testing.assert_array_equal(source.fetch(rows)["x"], expected)
    np.testing.assert_array_equal(source.fetch(rows)["label"], run.train.fetch(rows)["label"])

    config = prior_config(tokenizer, **{"data.dataset": f"encoded:{folder}", "data.random_flip": False})
    prior = Run(config, str(tmp_path / "prior"), jax.devices()[:1])
    assert prior.spec.shape == (4, 4, 1)
    assert prior.system.picture(source.fetch(np.arange(4))["x"]).ndim == 3  # decoded

    tokens = np.load(folder / "test.npy")
    tokens[0] = 16
    np.save(folder / "test.npy", tokens)
    with pytest.raises(ValueError, match="row 0 of encoded:.* has the value 16, but levels 0 to 15 are expected"):
        load(f"encoded:{folder}", "test").fetch(np.arange(1))


def categorical(workdir, **settings):
    """Six steps of masked diffusion of the tokens of the tokenizer in `workdir`."""
    config = prior_config(workdir, **{"eval.features": "pixels"})
    presets.categorical(config)
    config.model.update(nf=4, num_res_blocks=1, num_heads=2)
    config.sampling.num_steps = 4
    config.eval.num_probes = 2
    config.update_from_flattened_dict(settings)
    return config


def test_a_model_of_tokens_is_one_of_the_data(tokenizer, tmp_path):
    trained(categorical(tokenizer), tmp_path)
    config = categorical(tokenizer, **{"eval.enable_metrics": True, "eval.metrics": ("fid",)})
    (report,) = evaluate.evaluate(evaluate.prepare(config, tmp_path))
    found = json.loads(report.read_text())
    assert np.isfinite(found["results"]["bits_per_dim"]["mean"])  # of the 16 tokens
    assert "bits/token" in [column["heading"] for column in found["columns"]]
    with np.load(report.parent / "samples" / "round_00000.npz") as samples:
        assert samples["samples"].shape[1:] == (8, 8, 3) and samples["samples"].dtype == np.uint8


@pytest.mark.parametrize("kind", ["tokens", "latents"])
def test_examples_are_completed_from_the_codes_of_what_is_known_alone(kind, tokenizer, rotation, tmp_path):
    """Rows 5 to 7 are known, and so the codes of rows 6 and 7; rows 0 to 4 of the input make no difference."""
    config = categorical(tokenizer) if kind == "tokens" else prior_config(rotation)
    trained(config, tmp_path / "run")
    run, known = of_checkpoint(tmp_path / "run"), np.arange(8)[:, None] >= np.full((1, 8), 5)
    np.save(tmp_path / "mask.npy", known)
    first, second = run.test.fetch(np.arange(2))["x"]
    second = np.where(known[..., None], first, second)
    found = []
    for values in (first, second):
        np.save(tmp_path / "input.npy", values[None])
        request = asked(run, "inpaint", input=str(tmp_path / "input.npy"), mask=str(tmp_path / "mask.npy"))
        restored = run.restore()
        found.append(sample.prepare(run, request)(restored.variables, restored.number).arrays["samples"])
    assert found[0].shape == (1, 8, 8, 8, 3) and found[0].dtype == np.uint8
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0][:, :, 5:], np.broadcast_to(first[5:], (1, 8, 3, 8, 3)))
    assert (found[0][:, 0, :5] != found[0][:, 1, :5]).any()

    np.save(tmp_path / "mask.npy", known & (np.arange(8) % 2 == 0))
    with pytest.raises(ValueError, match="keeps patches of 2x2 that are wholly known, .* no such patch; give another"):
        sample.prepare(run, request)


def test_a_model_of_another_number_of_tokens_is_refused(tokenizer, tmp_path):
    config = categorical(tokenizer, **{"model.num_categories": 8})
    with pytest.raises(ValueError, match="num_categories = 8, but the tokenizer has 16 codes; set it to 16"):
        Run(config, str(tmp_path), jax.devices()[:1])


def test_tokens_that_the_codebook_does_not_have_are_refused(tokenizer, tmp_path_factory, tmp_path):
    folder = encode.encode(of_checkpoint(tokenizer), tmp_path / "codes")
    smaller = started(tmp_path_factory, "vq", num_codes=8)
    config = categorical(smaller, **{"data.dataset": f"encoded:{folder}"})
    with pytest.raises(ValueError, match=r"makes codes of shape \(4, 4, 1\) with 8 levels, but .* with 16; give a tok"):
        Run(config, str(tmp_path / "prior"), jax.devices()[:1])


def test_codes_of_another_tokenizer_are_refused(tokenizer, tmp_path):
    folder = encode.encode(of_checkpoint(tokenizer), tmp_path / "codes", 1)
    config = prior_config(f"{tokenizer}:2", **{"data.dataset": f"encoded:{folder}"})
    with pytest.raises(ValueError, match="was made by a tokenizer with the weights of SHA-256 .*, but config.model"):
        Run(config, str(tmp_path / "prior"), jax.devices()[:1])


def test_a_stage_that_does_not_fit_is_one_sentence(tokenizer, rotation, tmp_path):
    config = prior_config(rotation, **{"data.shape": (16, 16, 3)})
    with pytest.raises(ValueError, match=r"takes examples of shape \(8, 8, 3\) .* has \(16, 16, 3\)"):
        Run(config, str(tmp_path), jax.devices()[:1])
    trained(prior_config(rotation), tmp_path / "prior")
    with pytest.raises(ValueError, match="a run of config.system = 'diffusion'; give the run of a 'tokenizer'"):
        Run(prior_config(tmp_path / "prior"), str(tmp_path / "other"), jax.devices()[:1])


def test_only_a_tokenizer_encodes(rotation, tmp_path, command_line):
    trained(prior_config(rotation), tmp_path)
    found = command_line("--mode=encode", f"--workdir={tmp_path}")
    assert found.code == ExitCode.USER_ERROR and "needs the run of a tokenizer" in found.error


def test_latents_of_an_external_auto_encoder(tmp_path):
    run = trained(prior_config(None, **{"tokenizer.external": f"{OWN}:halves", "eval.enable_bpd": False}), tmp_path)
    assert "bits_per_dim" not in run.system.evaluations
    keys = run.system.sample_keys(2, 0, 4)
    state = run.state()
    found = run.system.generate(state.averaged_variables, keys, None)["samples"]
    assert found.shape == (4, 8, 8, 3) and found.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", r"codes \(4, 4, 3\) .* says code_shape = \(4, 4, 1\); correct it"),
        ("nothing", "returned a object without encode"),
        ("missing", "has no function missing"),
    ],
)
def test_an_external_auto_encoder_that_is_wrong_is_one_sentence(name, message, tmp_path):
    config = prior_config(None, **{"tokenizer.external": f"{OWN}:{name}"})
    with pytest.raises(ValueError, match=message):
        Run(config, str(tmp_path), jax.devices()[:1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 3}, "factor = 3 does not divide the sides"),
        ({"encoder": "linear"}, "config.tokenizer.encoder = 'linear' is not known; choose one of conv, patch"),
        ({"quantizer": "pca", "dim": 13}, "a patch of 12 values has no more principal components"),
        ({"restart_below": 0.1}, "replaces codes of a moving average, but config.tokenizer.codebook = 'gradient'"),
        ({"reservoir": 10}, "reservoir = 10 features cannot make config.tokenizer.num_codes = 16 clusters"),
        ({"loss": "l3"}, "config.tokenizer.loss = 'l3' is not known"),
        (
            {"encoder": "raw"},
            "encoder = 'raw' takes the 12 values of a patch .*dim = 3 with quantizer = 'vq'; set dim to 12",
        ),
        ({"feature_loss": f"{OWN}:not_features"}, "cannot be differentiated .* returns {'features'"),
    ],
)
def test_settings_of_a_tokenizer_that_do_not_fit_are_one_sentence(settings, message, tmp_path):
    config = tokenizer_config()
    config.tokenizer.update(settings)
    with pytest.raises(ValueError, match=message):
        Run(config, str(tmp_path), jax.devices()[:1])


def test_features_are_a_loss_of_their_own(tmp_path):
    run = Run(tokenizer_config(feature_loss=f"{OWN}:sums", loss="l1"), str(tmp_path), jax.devices()[:1])
    assert run.system.loss_names(run.abstract_state().variables) == (
        "codebook", "commitment", "features", "reconstruction",
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "vqddm/cifar10_tokenizer",
        "vqddm/digits_tokenizer",
        "vqddm/photos_tokenizer",
        "resgen/digits_tokenizer",
        "latent/digits_autoencoder",
    ],
)
def test_the_documented_models_of_latents_and_tokens_train(path, tmp_path):
    """Small, on random images of their own kind; the auto-encoder's latents become data of the model beside it."""
    config = load_config(f"configs/{path}.py")
    config.data.update(dataset="synthetic", image_size=8)
    config.model.nf = 4
    config.training.update(batch_size=8, n_iters=2, log_freq=1, snapshot_freq=2, snapshot_freq_for_preemption=2)
    config.training.update(eval_freq=2)
    config.tokenizer.update(num_codes=4, num_blocks=1, reservoir=128)
    trained(config, tmp_path / "first")
    if not path.startswith("latent"):
        return
    config = load_config("configs/latent/digits.py")
    config.data.update(dataset="synthetic")
    config.model.update(stages=(f"tokenizer={tmp_path / 'first'}",), name="perceptron", nf=8)
    config.training.update(batch_size=8, n_iters=2, log_freq=1, snapshot_freq=2, snapshot_freq_for_preemption=2)
    config.training.update(eval_freq=2, snapshot_num_samples=4)
    config.sampling.num_steps = 3
    trained(config, tmp_path / "second")
