"""The program sample on an untrained network: what it writes, that it keeps what was measured, what it refuses."""

import errno
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import main
import run_lib
from builders import inverse
from configs import presets
from core.errors import ExitCode, RunError
from corruption.predictions import to_score
from evaluation.metrics.restoration import Baseline, as_measured
from programs import restore_run, sample
from programs.run import Run
from reports.sheets import GAP, LINE
from systems.requests import generate, latent, posterior, restore
from systems.requests.base import RequestTask, in_batches
from systems.requests.measurements import MaskedRestoration, Restoration
from systems.requests.table import REQUESTS
from tests.support.flags import flags_of_main
from tests.support.operators import products
from tests.support.runs import asked, tiny, untrained
from training.checkpoint import CheckpointError

TEST_IMAGES = "test:0,1,2"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The workdir of a network that knows no classes."""
    workdir = tmp_path_factory.mktemp("plain")
    untrained(tiny(), workdir)
    return workdir


@pytest.fixture(scope="module")
def by_class(tmp_path_factory):
    """The workdir of a class-conditional network."""
    workdir = tmp_path_factory.mktemp("by_class")
    untrained(tiny(num_labels=10), workdir)
    return workdir


def drawn(run, tmp_path, task, **options):
    """(record, arrays) of a request."""
    request = asked(run, task, **options)
    directory = sample.execute(run, request, sample.prepare(run, request), output=str(tmp_path / "out"))
    assert sorted(path.name for path in directory.iterdir()) == ["record.json", "samples.npz", "samples.png"]
    return json.loads((directory / "record.json").read_text()), dict(np.load(directory / "samples.npz"))


def test_samples_are_those_of_an_evaluation_whatever_the_batch(plain, tmp_path):
    config = tiny()
    config.eval.update(num_samples=11, enable_loss=False, enable_bpd=False, enable_sampling=True)
    run = untrained(config, plain)
    record, arrays = drawn(run, tmp_path, task="unconditional", num_samples=5)
    assert record["results"] == {"num_evals": 7.0, "num_samples": 5} and record["checkpoint"] == 1
    assert record["config"]["model"]["nf"] == 8 and record["request"]["task"] == "unconditional"
    run_lib.evaluate_run(run, str(tmp_path / "eval"))
    evaluated = np.load(tmp_path / "eval" / "ckpt_1" / "samples.npz")["arr_0"]
    assert arrays["arr_0"].dtype == np.uint8 and len(np.unique(arrays["arr_0"])) > 100
    # One level apart where a value of float32 lies at the border of two.
    assert np.abs(evaluated[:5].astype(int) - arrays["arr_0"]).max() <= 1


@pytest.mark.parametrize(
    "task",
    [
        "superresolve",
        "inpaint",
        "colorize",
        "deblur",
        "reconstruct",
    ],
)
def test_samples_explain_what_was_measured(plain, tmp_path, task):
    config = tiny()
    config.restore.update(method="ddnm", blur_width=0.7)
    record, arrays = drawn(untrained(config, plain), tmp_path, task=task, input=TEST_IMAGES, num_samples=3)
    results = record["results"]
    assert arrays["samples"].shape == (3, 3, 8, 8, 3) and arrays["mean"].shape == arrays["input"].shape == (3, 8, 8, 3)
    # In float32; the blur's smallest singular values, a hundredth, magnify its rounding.
    assert results["residual_rms"] < 1e-5
    assert results["num_evals"] == 7 and results["names"] == ["test 0", "test 1", "test 2"]
    psnr = {key for key in results if key.startswith("psnr")}
    assert len(psnr) == 6 and all(np.isfinite(results[key]).all() for key in psnr)
    metrics = results["metrics"]
    assert metrics["psnr"]["value"] == pytest.approx(results["psnr_mean_db_over_images"])
    assert set(metrics) == {"psnr", "ssim", "crps", "interval_coverage"} and all(
        found["num_examples"] == 3 for found in metrics.values()
    )
    if task != "deblur":  # that of a narrow blur is one image
        assert arrays["deviation"].max() > 0.01  # several samples of what is not known
    with Image.open(tmp_path / "out" / "samples.png") as picture:
        columns = 1 + 1 + 3 + 1 + 1  # input, measurement, samples, mean, deviation
        assert picture.size == (columns * (64 + GAP) + GAP, 3 * (64 + GAP) + GAP + LINE)


@pytest.mark.parametrize("method", ["projection", "ddnm", "pigdm", "dps", "self_guidance"])
def test_known_pixels_are_kept_by_every_method_but_dps(plain, tmp_path, method):
    config = tiny()
    config.restore.method = method
    known = np.zeros((8, 8), np.uint8)
    known[:, :4] = 255
    Image.fromarray(known).save(tmp_path / "mask.png")
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(tmp_path / "image.png")
    given = {"input": str(tmp_path / "image.png"), "mask": str(tmp_path / "mask.png")}
    record, arrays = drawn(untrained(config, plain), tmp_path, task="inpaint", num_samples=2, **given)
    assert record["results"]["names"] == ["image"]
    left = arrays["samples"][:, :, :, :4]
    assert np.isfinite(left).all()
    if method in ("projection", "ddnm"):  # the others pull towards the measurement
        np.testing.assert_allclose(left, 2 * 100.5 / 256 - 1, atol=1e-5)


def test_a_measurement_may_be_given_instead_of_an_image(plain, tmp_path):
    config = tiny()
    config.restore.method = "ddnm"
    small = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.save(tmp_path / "small.npy", small)
    given = {"input": str(tmp_path / "small.npy"), "measured": True}
    record, arrays = drawn(untrained(config, plain), tmp_path, task="superresolve", num_samples=2, **given)
    blocks = arrays["samples"][0].reshape(2, 4, 2, 4, 2, 3).mean((2, 4))
    np.testing.assert_allclose(blocks, np.broadcast_to((small + 0.5) / 128 - 1, blocks.shape), atol=1e-5)
    assert "input" not in arrays and not any(key.startswith("psnr") for key in record["results"])


@pytest.fixture
def random_sums(monkeypatch):
    """A task of the user that measures twenty random sums, by products alone: one row."""
    matrix = np.random.default_rng(0).normal(size=(20, 192)).astype(np.float32) / 14
    row = inverse.OperatorEntry(
        lambda config, shape, known: products(shape, matrix),
        Baseline("back projection", as_measured),
        ranks=(3,),
        as_data=lambda operator, y: operator.adjoint(y),
    )
    monkeypatch.setitem(inverse.OPERATORS, "random_sums", row)
    monkeypatch.setitem(REQUESTS, "random_sums", RequestTask(Restoration, restore.restoration))
    return matrix


def test_a_measurement_by_products_alone_is_a_row(plain, tmp_path, random_sums):
    """Its measurements are numbers, which can be given as well as made, and are sampled from alike."""
    config = tiny()
    config.restore.method = "ddnm"  # which needs no Jacobian to meet a measurement exactly
    run = untrained(config, plain)
    record, made = drawn(run, tmp_path, task="random_sums", input=TEST_IMAGES, num_samples=2)
    assert record["results"]["residual_max"] < 1e-5 and "psnr_back_projection_db" in record["results"]
    np.testing.assert_allclose(made["measurement"], made["input"].reshape(3, -1) @ random_sums.T, atol=1e-5)
    np.save(tmp_path / "sums.npy", made["measurement"])
    given = {"input": str(tmp_path / "sums.npy"), "measured": True}
    _, again = drawn(run, tmp_path, task="random_sums", num_samples=2, **given)
    np.testing.assert_array_equal(again["samples"], made["samples"])
    np.save(tmp_path / "sums.npy", made["measurement"].astype(np.complex64))
    with pytest.raises(ValueError, match=r"complex64 \(3, 20\), but float \[N, 20\] is needed"):
        sample.prepare(run, asked(run, "random_sums", **given))


def test_tomography_is_given_as_counts_of_photons(plain, tmp_path):
    """The counts that a run writes are read again; the residual is in deviations of their noise."""
    config = tiny()
    config.restore.update(operator="radon", num_views=6, photons=200.0, attenuation=0.1, method="ddnm")
    run = untrained(config, plain)
    record, made = drawn(run, tmp_path, task="reconstruct", input=TEST_IMAGES, num_samples=2)
    counts = made["measurement"]
    assert counts.shape == (3, 6, 8, 3) and (counts == np.round(counts)).all() and 20 < counts.mean() < 200
    assert 0.2 < record["results"]["residual_rms"] < 3 and "psnr_filtered_back_projection_db" in record["results"]
    assert (made["lower"] <= made["upper"]).all() and made["lower"].shape == made["mean"].shape
    np.save(tmp_path / "counts.npy", counts.astype(np.int32))
    given = {"input": str(tmp_path / "counts.npy"), "measured": True}
    _, again = drawn(run, tmp_path, task="reconstruct", num_samples=2, **given)
    np.testing.assert_array_equal(again["samples"], made["samples"])


REFUSED_SCANS = {
    "a spectrum of another size": ({}, np.ones((4, 8, 3), np.complex64), r"complex64 \(1, 4, 8, 3\), but complex"),
    "real numbers": ({}, np.ones((8, 8, 3)), r"holds float64 \(1, 8, 8, 3\), but complex \[N, 8, 8, 3\] is needed"),
    "a spectrum for tomography": (
        {"operator": "radon"}, np.ones((20, 8, 3), np.complex64), r"complex64 .*, but float \[N, 20, 8, 3\] is needed",
    ),
    "missing numbers": ({"operator": "radon"}, np.full((20, 8, 3), np.nan), "has values that are not finite"),
    "negative counts": (
        {"operator": "radon", "photons": 100.0}, np.full((20, 8, 3), -1.0), "has the count -1, but counts of photons",
    ),
    "counted frequencies": ({"photons": 100.0}, np.ones((8, 8, 3)), "'fourier' measures complex numbers; set it to 0"),
    "no coil maps": ({"operator": "sense"}, np.ones((8, 8, 4), np.complex64), "needs the sensitivities of the coils"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_SCANS)
def test_scans_that_do_not_fit_are_refused_before_anything_is_compiled(plain, tmp_path, case):
    settings, y, message = REFUSED_SCANS[case]
    config = tiny()
    config.restore.update(settings)
    run = untrained(config, plain)
    np.save(tmp_path / "y.npy", y)
    with pytest.raises(ValueError, match=message) as error:
        sample.prepare(run, asked(run, "reconstruct", input=str(tmp_path / "y.npy"), measured=True))
    assert "\n" not in str(error.value)


def test_tomography_takes_no_mask(plain):
    config = tiny()
    config.restore.operator = "radon"
    run = untrained(config, plain)
    with pytest.raises(ValueError, match="--mask=m.png was given, but .*'radon' takes no mask; leave it out"):
        sample.prepare(run, asked(run, "reconstruct", input=TEST_IMAGES, mask="m.png"))


def test_noise_is_removed_from_where_the_sde_has_it(plain, tmp_path):
    """Given noisy examples and examples to which noise is added alike; fewer steps than from the prior."""
    config = tiny()
    config.restore.noise_std = 0.2
    run = untrained(config, plain)
    record, made = drawn(run, tmp_path, task="denoise", input=TEST_IMAGES, num_samples=2)
    noise = made["measurement"] - (2 * made["input"] - 1)
    assert noise.std() == pytest.approx(0.4, rel=0.15)  # 576 numbers, in the network's units
    assert record["results"]["num_evals"] < 7 and made["samples"].shape == (3, 2, 8, 8, 3)
    np.save(tmp_path / "noisy.npy", np.full((8, 8, 3), 100, np.uint8))
    given = {"input": str(tmp_path / "noisy.npy"), "measured": True}
    _, arrays = drawn(run, tmp_path, task="denoise", num_samples=2, **given)
    assert "input" not in arrays and arrays["mean"].shape == (1, 8, 8, 3)
    for noise_std, message in (
        (0.0, "--task=denoise removes noise, but config.restore.noise_std = 0"),
        (1e3, "of 2000, "),
    ):
        config.restore.noise_std = noise_std
        with pytest.raises(ValueError, match=message):
            sample.prepare(untrained(config, plain), asked(run, "denoise", input=TEST_IMAGES))


def test_anomalies_are_what_samples_from_noise_do_not_explain(plain, tmp_path):
    run = untrained(tiny(), plain)
    record, arrays = drawn(run, tmp_path, task="anomaly", input=TEST_IMAGES, num_samples=3, noise_std=0.2)
    np.testing.assert_allclose(arrays["map"], np.abs(arrays["input"] - arrays["healthy"]).mean(-1), atol=1e-6)
    np.testing.assert_allclose(arrays["score"], arrays["map"].max((1, 2)), rtol=1e-6)  # one of 64 pixels
    np.testing.assert_allclose(record["results"]["score"], arrays["score"], rtol=1e-6)
    little = drawn(run, tmp_path, task="anomaly", input=TEST_IMAGES, num_samples=3, noise_std=0.02)[1]
    assert little["map"].mean() < 0.3 * arrays["map"].mean()  # little noise hides little
    with pytest.raises(ValueError, match="deviation of 0, as the network sees it, is not among those of the SDE"):
        sample.prepare(run, asked(run, "anomaly", input=TEST_IMAGES, noise_std=0.0))


def test_translation_encodes_by_one_model_and_decodes_by_another(plain, by_class, tmp_path):
    """To itself it is the round trip of the codes; to another model the codes are the same, and the images are not."""
    config = tiny()
    config.sampling.update(method="ode", rtol=1e-3, atol=1e-3)
    run = untrained(config, plain)
    coded = drawn(run, tmp_path, task="encode", input=TEST_IMAGES)[1]
    same = drawn(run, tmp_path, task="translate", input=TEST_IMAGES, target=str(plain))[1]
    np.testing.assert_allclose(same["latents"], coded["latents"], atol=1e-5)
    # Levels of the decoded values, which may lie at the border of two.
    assert np.abs(same["arr_0"].astype(int) - np.floor(128 * (coded["decoded"] + 1)).clip(0, 255)).max() <= 1
    other = drawn(run, tmp_path, task="translate", input=TEST_IMAGES, target=str(by_class))[1]
    np.testing.assert_allclose(other["latents"], same["latents"], atol=1e-5)
    assert np.abs(other["arr_0"].astype(int) - same["arr_0"]).mean() > 1


def test_a_translation_that_makes_no_sense_is_refused(plain, tmp_path):
    config = tiny()
    with pytest.raises(ValueError, match="'pc' cannot be inverted; add --config.sampling.method=ode"):
        sample.prepare(untrained(config, plain), asked(untrained(config, plain), "translate", input=TEST_IMAGES))
    config.sampling.method = "ode"
    run = untrained(config, plain)
    other = tiny()
    other.data.image_size = 4
    untrained(other, tmp_path / "small")
    for target, message in (
        (None, "--task=translate needs --request.target=WORKDIR"),
        (tmp_path / "none", "none"),
        (tmp_path / "small", r"examples of shape \(4, 4, 3\), but those of this model have \(8, 8, 3\)"),
    ):
        given = {} if target is None else {"target": str(target)}
        with pytest.raises(ValueError, match=message):
            sample.prepare(run, asked(run, "translate", input=TEST_IMAGES, **given))


def test_images_of_each_class_asked_for(by_class, tmp_path):
    config = tiny(num_labels=10)
    config.sampling.update(guidance="classifier_free", guidance_scale=20.0)  # the perceptron hardly heeds classes
    run = untrained(config, by_class)
    _, arrays = drawn(run, tmp_path, task="class", labels=(3, 7), num_samples=2)
    np.testing.assert_array_equal(arrays["labels"], [3, 3, 7, 7])
    _, alone = drawn(run, tmp_path, task="unconditional", num_samples=4)
    # The same noise: the classes are what differs.
    assert "labels" not in alone and np.abs(arrays["arr_0"].astype(int) - alone["arr_0"]).mean() > 1


def test_a_network_that_always_had_a_class_in_training_is_given_each_in_turn(tmp_path):
    run = untrained(tiny(num_labels=10, label_dropout=0.0), tmp_path / "run")
    _, arrays = drawn(run, tmp_path, task="unconditional", num_samples=12)
    np.testing.assert_array_equal(arrays["labels"], np.arange(12) % 10)


@pytest.mark.parametrize(
    ("module", "asked"),
    [
        (generate, {"task": "unconditional", "num_samples": 5}),
        (posterior, {"task": "superresolve", "num_samples": 2, "input": TEST_IMAGES}),
        (latent, {"task": "encode", "input": TEST_IMAGES}),
    ],
)
def test_devices_share_what_is_drawn_and_draw_the_same(plain, tmp_path, monkeypatch, module, asked):
    config = tiny()
    if asked["task"] == "encode":
        config.sampling.update(method="ode", rtol=1e-5, atol=1e-5)
    shares, results = [], []

    def watched(draw, num, size, *name):
        def shared(rows):
            found = draw(rows)
            arrays = [value for value in found.values() if value.ndim]
            shares.extend(len(array) / len(shard.data) for array in arrays for shard in array.addressable_shards)
            return found

        return in_batches(shared, num, size, *name)

    monkeypatch.setattr(module, "in_batches", watched)
    for count in (1, 2):
        results.append(drawn(untrained(config, plain, count), tmp_path / str(count), **asked)[1])
        assert shares and set(shares) == {count}  # each device has its share of every array, and no more
        shares.clear()
    for name, alone in results[0].items():
        limit = 1 if alone.dtype == np.uint8 else 1e-2  # a level, or what steps of 1e-5 for another batch add up to
        np.testing.assert_allclose(results[1][name].astype(np.float32), alone.astype(np.float32), rtol=0, atol=limit)


def test_codes_lead_back_to_the_images(plain, tmp_path):
    config = tiny()
    config.sampling.update(method="ode", rtol=1e-5, atol=1e-5)
    run = untrained(config, plain)
    record, arrays = drawn(run, tmp_path, task="encode", input=TEST_IMAGES)
    assert (
        record["results"]["round_trip_error_over_images"] < 1e-2
    )  # what 1e-5 in each step adds up to with a random network
    np.savez(tmp_path / "codes.npz", latents=arrays["latents"], others=np.zeros(3))
    _, decoded = drawn(run, tmp_path, task="decode", input=str(tmp_path / "codes.npz"))
    assert np.abs(decoded["arr_0"].astype(int) - run.test.fetch(np.arange(3))["x"]).max() <= 1
    _, cold = drawn(run, tmp_path, task="decode", input=str(tmp_path / "codes.npz"), temperature=0.5)
    assert cold["arr_0"].std() < decoded["arr_0"].std()
    _, path = drawn(run, tmp_path, task="interpolate", input=TEST_IMAGES, num_samples=3)
    assert path["arr_0"].shape == (6, 8, 8, 3)  # from the first to the second, from the second to the third
    ends = path["arr_0"][[0, 2, 3, 5]].astype(int) - run.test.fetch(np.array([0, 1, 1, 2]))["x"]
    assert np.abs(ends).max() <= 1


def test_a_classifier_guides_and_a_weaker_model_does(plain, by_class, tmp_path):
    classifier = tiny(num_labels=10, blocks_per_group=1, channel_multiplier=1)
    presets.classifier(classifier)
    untrained(classifier, tmp_path / "classifier")
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    t, labels = jnp.array([0.2, 0.8]), jnp.array([1, 2])

    def score(workdir, scale, **settings):
        config = tiny(num_labels=10 if workdir == by_class else 0)
        config.sampling.update(guidance_scale=scale, **settings)
        run = untrained(config, workdir)
        params = restore_run.restore(workdir).variables["params"]
        guide = run.system.guide
        predict = guide.predict_of(params, guide.params, labels)
        return np.asarray(jax.jit(to_score(predict, run.system.sde))(x, t))

    alone = score(plain, 1.0)
    guided = {"guidance": "classifier", "guide_workdir": str(tmp_path / "classifier")}
    once, twice = score(plain, 100.0, **guided), score(plain, 200.0, **guided)
    assert np.abs(once - alone).max() > 0.01
    np.testing.assert_allclose(twice - alone, 2 * (once - alone), atol=1e-4)  # float32 sums
    guided = {"guidance": "autoguidance", "guide_workdir": str(plain)}
    np.testing.assert_allclose(
        score(plain, 3.0, **guided), alone, rtol=1e-6
    )  # a model that is no better than its guide
    with pytest.raises(ValueError, match="holds a perceptron, which is no classifier"):
        score(plain, 1.0, guidance="classifier", guide_workdir=str(plain))
    with pytest.raises(ValueError, match="model.num_labels is 10, but 0 in the guiding run"):
        score(by_class, 1.0, guidance="autoguidance", guide_workdir=str(plain))
    with pytest.raises(ValueError, match="No checkpoint 5 was found in"):
        score(plain, 1.0, guide_checkpoint=5, **guided)


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("inpant", {}, "--task=inpant is not known to config.system = 'diffusion'; .*nearest: inpaint"),
        ("colorize", {"mask": "a.png"}, "--mask has no meaning for --task=colorize; it belongs to inpaint, reconstr"),
        (
            "class",
            {"temperature": "2"},
            "--temperature has no meaning for --task=class; it belongs to refine, interpolate, d",
        ),
        ("class", {"request.label": "3"}, r"--request.label=3 is not .*=class, which has .*\(nearest: labels\)"),
        ("class", {"request.labels": "3,x"}, "--request.labels=3,x was given, but whole numbers, separated by commas"),
        ("class", {"num_samples": "many"}, "--num_samples=many was given, but a whole number is needed"),
        ("inpaint", {"request.measured": "perhaps"}, "=perhaps was given, but a truth value is needed"),
        ("encode", {"request.num_samples": "3"}, "which has --request.input=None, --request.labels="),
    ],
)
def test_an_option_that_a_task_does_not_have_is_refused(plain, task, given, message):
    with pytest.raises(ValueError, match=message):
        sample.request_of(untrained(tiny(), plain).system, task, given)


def test_options_are_read_by_their_types(plain):
    given = {"input": "a.png", "request.labels": "3,7", "request.measured": "true", "request.mask": "None"}
    request = sample.request_of(untrained(tiny(), plain).system, "inpaint", given)
    assert request == MaskedRestoration("inpaint", "a.png", (3, 7), 8, True, None)


REFUSED = {
    "no input": ({"task": "inpaint"}, {}, "--task=inpaint needs --input=PATH"),
    "no such file": ({"task": "inpaint", "input": "nothing.png"}, {}, "the input nothing.png does not exist"),
    "no such test image": ({"task": "inpaint", "input": "test:128"}, {}, "test images are numbered from 0 to 127"),
    "no number": ({"task": "inpaint", "input": "test:a"}, {}, "give indices of test images"),
    "no class": ({"task": "class"}, {}, "--task=class needs a class-conditional model"),
    "another class": (
        {"task": "inpaint", "input": "test:0", "labels": (3,)},
        {},
        "this model is not class-conditional",
    ),
    "no samples": (
        {"task": "unconditional", "num_samples": 0},
        {},
        "--num_samples=0 was given, but it must be at least 1",
    ),
    "noise": ({"task": "encode", "input": "test:0"}, {}, "'pc' cannot be inverted; add --config.sampling.method=ode"),
    "one image": ({"task": "interpolate", "input": "test:0"}, {"sampling.method": "ode"}, "give at least two"),
    "a wrong method": ({"task": "inpaint", "input": "test:0"}, {"restore.method": "pigdn"}, "nearest: pigdm"),
    "a factor": ({"task": "superresolve", "input": "test:0"}, {"restore.factor": 3}, "does not divide the sides"),
    "the ode projected": (
        {"task": "inpaint", "input": "test:0"},
        {"sampling.method": "ode", "restore.method": "projection"},
        "use sampling.method = 'pc' or 'solver', or another method",
    ),
    "steps of no predictor": (
        {"task": "inpaint", "input": "test:0"},
        {"sampling.method": "ode", "restore.method": "dps", "restore.dps_form": "step"},
        "follows the steps of config.sampling.method = 'pc'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_one_sentence_before_anything_is_compiled(plain, case):
    request, settings, message = REFUSED[case]
    config = tiny()
    for key, value in settings.items():
        section, name = key.split(".")
        config[section][name] = value
    with pytest.raises(ValueError, match=message.replace("(", r"\(")) as error:
        run = untrained(config, plain)
        sample.prepare(run, asked(run, **request))
    assert "\n" not in str(error.value)


def test_who_asks_for_classes_is_told_how_to_get_a_model_that_knows_them(plain, tmp_path):
    run = untrained(tiny(), plain)
    for request in (asked(run, "class"), asked(run, "class", labels=(3,))):
        with pytest.raises(ValueError, match=r"train again, in .* --config.model.num_labels=10, .*guide_workdir\.$"):
            sample.prepare(run, request)
    np.save(tmp_path / "x.npy", np.zeros((20, 8, 8, 3), np.uint8))
    config = tiny()
    config.data.dataset = f"npy:{tmp_path}/x.npy"
    with pytest.raises(
        ValueError, match=r"x.npy has none to learn; give data with classes, .*num_labels, their number"
    ):
        run = untrained(config, plain)
        sample.prepare(run, asked(run, "class", labels=(0,)))


def test_a_class_that_does_not_exist_is_refused(by_class):
    with pytest.raises(ValueError, match="--labels has the class 10, but there are the classes 0 to 9"):
        run = untrained(tiny(num_labels=10), by_class)
        sample.prepare(run, asked(run, "class", labels=(10,)))


def test_guidance_needs_what_it_is_made_of(plain):
    config = tiny()
    config.sampling.guidance = "classifier_free"
    with pytest.raises(ValueError, match="needs a network that was trained with and without classes"):
        _ = untrained(config, plain).system.guide
    config.sampling.guidance = "classifier"
    with pytest.raises(ValueError, match="needs config.sampling.guide_workdir"):
        _ = untrained(config, plain).system.guide
    config.sampling.update(guidance="none", guidance_min_sigma=2.0, guidance_max_sigma=1.0)
    config.model.num_labels = 3
    with pytest.raises(ValueError, match="num_labels = 3, but synthetic has 10 classes"):
        _ = untrained(config, plain).system.guide


def test_a_classifier_draws_nothing(tmp_path):
    config = tiny(num_labels=10, name="wideresnet", blocks_per_group=1, channel_multiplier=1)
    with pytest.raises(ValueError, match="whose output is logits of classes, but config.system = 'diffusion' needs"):
        untrained(config, tmp_path)
    config.system = "classifier"
    with pytest.raises(ValueError, match="snapshot_sampling = True, but config.system = 'classifier' has no samples"):
        untrained(config, tmp_path)
    presets.classifier(config)
    with pytest.raises(ValueError, match="config.system = 'classifier' generates no samples"):
        asked(untrained(config, tmp_path), "unconditional")


def test_a_checkpoint_that_is_not_there_is_told(plain, tmp_path):
    run = untrained(tiny(), plain)
    request = asked(run, "unconditional")
    with pytest.raises(CheckpointError, match=r"No checkpoint 7 was found in .*; there are: 1"):
        sample.execute(run, request, sample.prepare(run, request), number=7, output=str(tmp_path))


def test_what_remains_of_a_command_is_what_it_has_written(tmp_path):
    assert sample.remains(tmp_path, 0.0) == f"nothing was written to {tmp_path} yet; start the same command again."
    for name in sample.FILES:
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / "samples.npz", (50.0, 50.0))
    os.utime(tmp_path / "record.json", (50.0, 50.0))
    assert sample.remains(tmp_path, 100.0).startswith(f"of this command {tmp_path} has only samples.png; start")
    os.utime(tmp_path / "samples.png", (50.0, 50.0))
    assert "yet, and what lies there is of an earlier command; start" in sample.remains(tmp_path, 100.0)
    assert sample.remains(tmp_path, 50.0) == f"samples.png, samples.npz, record.json are whole in {tmp_path}."


def test_from_the_command_line_an_error_is_one_line_and_an_exit_code(plain, command_line):
    done = command_line(f"--workdir={plain}", "--mode=sample", "--task=inpaint", "--input=nothing.png")
    assert done.code == ExitCode.USER_ERROR
    assert done.error.startswith("error: the input nothing.png does not exist")
    assert len(done.error.splitlines()) == 1
    done = command_line(f"--workdir={plain}", "--mode=sample", "--task=class", "--request.label=3")
    assert done.code == ExitCode.USER_ERROR and done.error.startswith("error: --request.label=3 is not an option of")


def test_earlier_results_are_only_replaced_on_demand(plain, tmp_path, command_line, capsys):
    words = (f"--workdir={plain}", "--mode=sample", "--num_samples=2", f"--output={tmp_path / 'out'}")
    assert command_line(*words).code == 0
    before = (tmp_path / "out" / "samples.npz").read_bytes()
    done = command_line(*words, "--seed=7")
    assert done.code == ExitCode.USER_ERROR and len(done.error.splitlines()) == 1
    assert done.error.endswith(
        "/out has samples.png of an earlier command; give another folder with --output=DIR, or --overwrite."
    )
    assert (tmp_path / "out" / "samples.npz").read_bytes() == before
    assert command_line(*words, "--seed=7", "--overwrite").code == 0
    assert (tmp_path / "out" / "samples.npz").read_bytes() != before
    assert json.loads((tmp_path / "out" / "record.json").read_text())["config"]["seed"] == 7


@pytest.mark.parametrize("name", ["samples.npz", "record.json", "samples_png"])
def test_a_file_of_anybody_is_not_replaced(plain, tmp_path, name, command_line):
    """Each of the files, also where it is all that is there: of an evaluation, or of a command that was killed."""
    (tmp_path / name).write_text("theirs")
    done = command_line(f"--workdir={plain}", "--mode=sample", "--num_samples=2", f"--output={tmp_path}")
    assert done.code == ExitCode.USER_ERROR and f"has {name} of an earlier command" in done.error
    assert (tmp_path / name).read_text() == "theirs" and len(list(tmp_path.iterdir())) == 1


def test_each_sample_is_a_file_of_its_own_on_demand(plain, tmp_path, command_line):
    for task, words, names in (
        ("unconditional", ["--num_samples=3"], 3),
        ("inpaint", [f"--input={TEST_IMAGES}", "--num_samples=2"], 6),
    ):
        out = tmp_path / task
        words = [f"--workdir={plain}", "--mode=sample", f"--task={task}", *words, f"--output={out}"]
        assert command_line(*words, "--format=png").code == 0
        files = sorted((out / "samples_png").iterdir())
        assert [file.name for file in files] == [f"{index:06d}.png" for index in range(names)]
        if task == "unconditional":
            for file, sample_ in zip(files, np.load(out / "samples.npz")["arr_0"], strict=True):
                np.testing.assert_array_equal(np.asarray(Image.open(file)), sample_)
        else:  # what was measured is kept, in the order of the inputs
            truth = np.round(255 * np.load(out / "samples.npz")["input"])
            assert np.abs(np.asarray(Image.open(files[3])).astype(int)[0] - truth[1][0]).max() <= 1
        assert command_line(*words, "--overwrite").code == 0
        assert not (out / "samples_png").exists()  # it was of the command before


def test_states_along_the_way_are_a_gif_on_demand(plain, tmp_path, command_line):
    words = [f"--workdir={plain}", "--mode=sample", "--num_samples=3", f"--output={tmp_path / 'out'}"]
    assert command_line(*words, "--config.sampling.trajectory=2").code == 0
    arrays = np.load(tmp_path / "out" / "samples.npz")
    assert arrays["states"].shape == (3, 2, *arrays["arr_0"].shape[1:])
    np.testing.assert_array_equal(arrays["states"][:, -1], arrays["arr_0"])
    assert Image.open(tmp_path / "out" / "samples.gif").n_frames == 2
    assert command_line(*words, "--overwrite").code == 0
    assert not (tmp_path / "out" / "samples.gif").exists()  # it was of the command before


def test_files_of_images_are_refused_for_what_is_none(plain, tmp_path, monkeypatch, command_line):
    monkeypatch.setattr("systems.base.System.has_images", False)
    done = command_line(f"--workdir={plain}", "--mode=sample", "--format=png", f"--output={tmp_path}")
    assert done.code == ExitCode.USER_ERROR and "--format=png writes images, but synthetic has" in done.error


def test_the_last_line_names_the_picture_and_the_arrays(plain, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(
        main, "FLAGS", flags_of_main(words := [f"--workdir={plain}", "--mode=sample", "--num_samples=1"])
    )
    monkeypatch.setattr(main, "set_up", lambda: None)
    assert main.main(main.parse(["main.py", *words, f"--output={tmp_path / 'new'}"])) == 0
    last = capfd.readouterr().out.splitlines()[-1]
    assert last == f"-> {tmp_path}/new/samples.png (arrays: {tmp_path}/new/samples.npz)"
    assert json.loads((tmp_path / "new" / "record.json").read_text())["sampler"] == "ddim, 6 steps"


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5", "many"])
def test_a_seed_that_is_none_is_one_line(plain, seed, command_line):
    done = command_line(f"--workdir={plain}", "--mode=sample", f"--seed={seed}")
    assert done.code == ExitCode.USER_ERROR and len(done.error.splitlines()) == 1 and "seed" in done.error


def test_where_results_go_is_tried_before_the_work(plain, tmp_path, monkeypatch, command_line):
    def work(*args, **kwargs):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(sample, "prepare", work)
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file" / "x", tmp_path / "file", tmp_path / ("n" * 300), "/proc/nothing/x"):
        done = command_line(f"--workdir={plain}", "--mode=sample", f"--output={output}")
        assert done.code == ExitCode.USER_ERROR and len(done.error.splitlines()) == 1
        assert done.error.startswith(f"error: --output={output} cannot be written to (")


def test_a_disk_that_is_full_at_the_end_is_one_sentence(plain, tmp_path, monkeypatch):
    def full(path, arrays):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(sample, "write_arrays", full)
    run = untrained(tiny(), plain)
    request = asked(run, "unconditional", num_samples=1)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\); .* free some space"):
        sample.execute(run, request, sample.prepare(run, request), output=str(tmp_path / "out"))


def flipped(content, position):
    changed = bytearray(content)
    changed[position] ^= 2
    return bytes(changed)


def test_a_flipped_byte_of_a_checkpoint_is_noticed_or_does_not_matter(plain, tmp_path):
    """In any of its files, at three places."""
    workdir = shutil.copytree(plain / restore_run.FOLDER, tmp_path / restore_run.FOLDER).parent
    whole, noticed = restore_run.restore(plain).variables, set()
    for path in sorted(path for path in (workdir / restore_run.FOLDER / "1").rglob("*") if path.is_file()):
        content = path.read_bytes()
        for position in {len(content) // 3, len(content) // 2, len(content) - 2}:
            path.write_bytes(flipped(content, position))
            try:
                found = Run.of_checkpoint(tiny(), workdir).restore().variables
            except (CheckpointError, ValueError) as error:
                assert "\n" not in str(error), path
                noticed.add(path.parent.name)
            else:
                jax.tree.map(np.testing.assert_array_equal, found, whole)
        path.write_bytes(content)
    assert {"d", "config", "checksums"} <= noticed  # the arrays, the config, and the sums themselves


def test_from_the_command_line_a_flipped_byte_of_the_arrays_is_one_line(plain, tmp_path, command_line):
    workdir = shutil.copytree(plain / restore_run.FOLDER, tmp_path / restore_run.FOLDER).parent
    path = max((workdir / restore_run.FOLDER / "1" / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    path.write_bytes(flipped(path.read_bytes(), path.stat().st_size // 2))
    done = command_line(f"--workdir={workdir}", "--mode=sample", "--num_samples=1")
    assert done.code == ExitCode.RUN_ERROR and done.error.startswith("error: Checkpoint 1 in ")
    assert len(done.error.splitlines()) == 1 and not (workdir / "sample").exists()
