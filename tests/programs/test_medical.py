"""Reconstruction, anomalies and segmentation as evaluations, and measurements in files of scanners."""

import json
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import run_lib
from benchmarks import frameworks
from data import stock
from evaluation.rounds import run_task
from programs import sample, train
from programs.run import Run
from reports.sheets import GAP, LINE
from tests.support.configs import load
from tests.support.runs import asked, tiny, untrained

RNG = np.random.default_rng(0)


def complex_config(folder):
    """A tiny network on complex images of twelve subjects, three of each."""
    x = RNG.normal(size=(36, 8, 8, 2)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, subject=np.arange(36) // 3)
    config = tiny()
    config.data.update(dataset=f"npz:{folder / 'data.npz'}", test_every=3)
    config.restore.update(operator="complex_fourier", pattern="random_lines", kept=0.5, method="ddnm")
    config.eval.update(tasks=("reconstruction",), end_ckpt=1, posterior_samples=3, baselines=("pca_lmmse",))
    config.eval.enable_metrics = False
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("medical")
    return untrained(complex_config(folder), folder / "run")


def test_an_evaluation_reconstructs_as_a_request_does_and_can_be_resumed(run, tmp_path):
    (report,) = run_lib.evaluate_run(run, "eval")
    results = json.loads(report.read_text())["results"]["reconstruction"]
    assert results["psnr"]["num_examples"] == 12  # of the subjects 0, 3, 6 and 9
    assert results["residual_max"]["value"] < 2e-5  # float32, for values up to 4 and sums of 64
    baselines = {"zeros_where_nothing_is_known", "pca_lmmse"}
    assert baselines <= set(results) and all(0 < results[name]["phase_error"]["value"] < 3 for name in baselines)
    headings = [column["heading"] for column in json.loads(report.read_text())["columns"]]
    assert "PSNR / dB, pca lmmse" in headings and "phase error / rad" in headings
    request = asked(run, "reconstruct", input="test:8,9,10,11", num_samples=3)
    directory = sample.execute(run, request, sample.prepare(run, request), output=str(tmp_path / "out"))
    mean = np.load(directory / "samples.npz")["mean"]
    whole = report.read_bytes()
    (rounds,) = [path for path in report.parent.iterdir() if path.name == "reconstruction"]
    last = np.load(rounds / "round_00001.npz")
    truth = run.test.fetch(np.arange(8, 12))["x"]
    error = ((mean - truth) ** 2).sum((1, 2, 3)) / (truth**2).sum((1, 2, 3))
    # Those of examples 8 to 11 have other random numbers than the first four of a request.
    assert not np.allclose(last["nmse"], error, rtol=1e-3)
    (rounds / "round_00001.npz").unlink()
    (again,) = run_lib.evaluate_run(run, "eval")
    assert again.read_bytes() == whole


def test_the_first_examples_are_those_of_a_request(run, tmp_path):
    config = run.config.copy_and_resolve_references()
    config.eval.update(num_examples=3, baselines=())
    few = Run.of_checkpoint(config, run.workdir, 1, jax.devices()[:1])
    variables = few.restore(1).variables
    task = few.system.evaluations["reconstruction"](1, variables)
    found = task.run(0)
    request = asked(few, "reconstruct", input="test:0,1,2", num_samples=3)
    directory = sample.execute(few, request, sample.prepare(few, request), output=str(tmp_path / "out"))
    mean, truth = np.load(directory / "samples.npz")["mean"], few.test.fetch(np.arange(3))["x"]
    error = ((mean - truth) ** 2).sum((1, 2, 3)) / (truth**2).sum((1, 2, 3))
    np.testing.assert_allclose(found["nmse"], error, rtol=1e-4)  # the batch has another size


def test_real_images_seen_by_coils_have_no_phase(tmp_path):
    config = complex_config(tmp_path)
    np.savez(tmp_path / "data.npz", x=RNG.normal(size=(36, 8, 8, 1)).astype(np.float32), subject=np.arange(36) // 3)
    config.restore.update(operator="sense", coil_maps="simulated:2")
    config.eval.baselines = ()
    task = Run(config, tmp_path / "run", jax.devices()[:1]).system.evaluations["reconstruction"](1, None)
    headings = [column.heading for column in task.columns]
    assert "PSNR / dB" in headings and not any("phase" in heading for heading in headings)


def test_k_space_in_a_file_is_reconstructed_from_the_lines_that_it_has(run, tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is an extra")
    images = RNG.normal(size=(2, 8, 8)) + 1j * RNG.normal(size=(2, 8, 8))
    lines = np.array([1, 0, 0, 1, 1, 1, 0, 0])
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, (1, 2)), norm="ortho"), (1, 2)) * lines
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"], file["mask"] = k.astype(np.complex64), lines
    request = asked(run, "reconstruct", input=str(tmp_path / "k.h5"), measured=True, num_samples=2)
    directory = sample.execute(run, request, sample.prepare(run, request), output=str(tmp_path / "out"))
    found = np.load(directory / "samples.npz")["samples"]
    assert json.loads((directory / "record.json").read_text())["results"]["residual_max"] < 2e-5
    again = np.fft.fft2(np.fft.ifftshift(found[..., 0] + 1j * found[..., 1], (2, 3)), norm="ortho")
    again = np.fft.fftshift(again, (2, 3)) * lines
    np.testing.assert_allclose(again, np.repeat(k[:, None], 2, 1), atol=1e-4)  # in the order of the file
    with h5py.File(tmp_path / "small.h5", "w") as file:
        file["kspace"], file["mask"] = k[:, :4, :4].astype(np.complex64), lines[:4]
    request = asked(run, "reconstruct", input=str(tmp_path / "small.h5"), measured=True)
    with pytest.raises(ValueError, match=r"has a mask of shape \(4,\), but images of 8x8 have 8 lines; give --mask"):
        sample.prepare(run, request)
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["kspace"] = k[:, :4, :4].astype(np.complex64)
    request = asked(run, "reconstruct", input=str(tmp_path / "bare.h5"), measured=True)
    with pytest.raises(ValueError, match=r"holds complex64 \(2, 4, 4, 1\), but complex \[N, 8, 8, 1\] is needed"):
        sample.prepare(run, request)


@pytest.mark.parametrize("name", ["mri_phantoms", "segmentation"])
def test_complex_images_and_masks_have_a_training_step_and_their_evaluations(name, tmp_path):
    """The built-in data are opened, and the step is traced, with one level of the network."""
    config = load(f"configs/medical/{name}.py")
    config.model.update(nf=8, ch_mult=(1,), num_res_blocks=1, attn_resolutions=())
    shrunk = Run(config, str(tmp_path / "run"), jax.devices()[:1])
    step, state = train.make_step(shrunk, train.settings_of(config.training)), shrunk.abstract_state()
    _, metrics = jax.eval_shape(step, state, shrunk.spec.zeros(8))
    assert metrics["loss"].shape == ()
    assert shrunk.system.enabled and all(name in shrunk.system.evaluations for name in shrunk.system.enabled)


REFUSED = {
    "a baseline": ({"baselines": ("tv",)}, "config.eval.baselines = 'tv' is not known; .*nearest: total_variation"),
    "a restoration": ({"restoration": "inpant"}, "config.eval.restoration = 'inpant' is not .*nearest: inpaint"),
    "a baseline of another": (
        {"restoration": "inpaint", "baselines": ("pca_lmmse",)},
        "pca_lmmse, which inverts .* but config.eval.restoration = 'inpaint'; leave it out",
    ),
    "too few for a baseline": (
        {"baselines": ("pca_lmmse",)},
        "pca_lmmse, whose settings are chosen by training examples, at least 8 of them, but .* has 6; leave it out",
    ),
    "anomalies of other shape": ({"tasks": ("anomaly",)}, r"'phantoms_lesions' has examples of \(64, 64, 1\)"),
    "no anomalies": ({"tasks": ("anomaly",), "anomaly_dataset": "SAME"}, "has no field 'lesion' of the shape"),
    "segmentation": ({"tasks": ("segmentation",)}, "config.eval.tasks = 'segmentation' is not known"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_evaluation_that_does_not_fit_is_refused_before_it_starts(run, what):
    settings, said = REFUSED[what]
    config = run.config.copy_and_resolve_references()
    config.eval.update(settings)
    if what.startswith("too few"):
        x = RNG.normal(size=(9, 8, 8, 2)).astype(np.float32)
        np.savez(run.workdir / "few.npz", x=x)
        config.data.dataset = f"npz:{run.workdir / 'few.npz'}"
    if config.eval.anomaly_dataset == "SAME":
        config.eval.anomaly_dataset = config.data.dataset
    with pytest.raises(ValueError, match=said) as error:
        other = Run.of_checkpoint(config, run.workdir, 1, jax.devices()[:1])
        other.system.evaluations[config.eval.tasks[0]](0, None)
    assert "\n" not in str(error.value)


def test_an_ensemble_of_masks_is_compared_with_a_pixelwise_baseline(tmp_path):
    image = RNG.integers(0, 256, (60, 8, 8, 1), np.uint8)
    mask = image > 200
    np.savez(tmp_path / "data.npz", x=mask, image=image)
    config = load("configs/vp/smoke.py")
    config.data.update(dataset=f"npz:{tmp_path / 'data.npz'}", random_flip=False, test_every=4)
    config.model.conditions = ("image:concat",)
    config.eval.update(tasks=("segmentation",), posterior_samples=5, batch_size=8)
    segmenting = Run(config, str(tmp_path / "run"), jax.devices()[:1])

    def generate(variables, keys, asked):  # in place of the network: the mask with some noise
        noise = jax.vmap(lambda key: jax.random.normal(key, (8, 8, 1)))(keys)
        found = (np.asarray(asked["image"]) + 20 * noise > 200).astype(np.uint8)
        return {"samples": found, "num_evals": np.int32(1)}

    segmenting.system.generate_given = generate
    found = run_task(segmenting.system.evaluations["segmentation"](1, {}), tmp_path / "eval")
    assert found["dice"]["num_examples"] == 15 and 0.7 < found["dice"]["value"] < 1
    assert found["logistic_pixels"]["dice"]["value"] > 0.9  # a threshold is all it takes
    assert found["spread_auroc"]["value"] > 0.8
    request = asked(segmenting, "segment", input="test:0,2,4", num_samples=5)
    result = sample.prepare(segmenting, request)({}, 1)
    chosen = segmenting.test.fetch(np.array([0, 2, 4]))
    np.testing.assert_array_equal(result.arrays["input"], chosen["image"])
    assert result.arrays["samples"].shape == (3, 5, 8, 8, 1)
    first = np.load(tmp_path / "eval" / "segmentation" / "round_00000.npz")
    np.testing.assert_allclose(result.arrays["agreement"][0, ..., 0], first["agreement"][0])  # as the evaluation
    with Image.open(picture_of(result, tmp_path)) as picture:
        assert picture.size == ((1 + 4 + 2) * (64 + GAP) + GAP, 3 * (64 + GAP) + GAP + LINE)


def picture_of(result, folder):
    Image.fromarray(result.picture[..., 0] if result.picture.shape[-1] == 1 else result.picture).save(folder / "p.png")
    return folder / "p.png"


def test_only_a_model_of_masks_segments(run):
    request = asked(run, "segment", input="test:0")
    with pytest.raises(ValueError, match="--task=segment is for images of two levels that are conditioned on one"):
        sample.prepare(run, request)


def test_the_benchmark_compares_samples_with_mixtures(tmp_path, monkeypatch, capsys):
    slices = stock.load("phantoms", "train").fetch(np.arange(100))["x"]
    files = [str(tmp_path / name) for name in ("copies.npz", "dark.npz")]
    for file, samples in zip(files, (slices, slices // 2), strict=True):
        np.savez(file, arr_0=samples)
    monkeypatch.setattr(sys, "argv", ["frameworks", *files, "--train=100", "--features=4", "--gaussians=2"])
    frameworks.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {line["samples"]: line["distance"] for line in lines}
    assert list(found) == [*files, "test", "mixture", "mixture of components"]
    copies, dark, test, mixture, exact = found.values()
    assert copies == 0 < exact < mixture < dark and test > 0
