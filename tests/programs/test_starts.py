"""Samples from training examples with noise through the programs: what is kept, what is said, what is refused."""

import json

import jax
import numpy as np
import pytest

import run_lib
from builders import data
from builders.start import make_start
from programs import sample
from programs.run import Run
from reports.records import read_checkpoint
from tests.support.runs import asked, tiny, untrained


def config_of(start, **sampling):
    config = tiny()
    config.sampling.update(
        method="solver", solver="unipc_2", grid="log_snr", num_steps=2, start=start, start_iterations=50, **sampling
    )
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts")
    untrained(tiny(), folder)
    return folder


def sampled(workdir, output, config, task="unconditional", **options):
    """The folder with the samples, and the record."""
    run = Run.of_checkpoint(config, workdir, devices=jax.devices()[:1])
    request = asked(run, task, **options)
    folder = sample.execute(run, request, sample.prepare(run, request), output=str(output))
    return np.load(folder / "samples.npz"), json.loads((folder / "record.json").read_text())


def test_samples_start_at_training_examples_by_a_map_that_is_kept(workdir, tmp_path, caplog):
    """With next to no noise, samples are training examples, and this is said."""
    config = config_of("optimal_transport", start_noise=0.02, start_targets=16)
    with caplog.at_level("INFO"):
        _, record = sampled(workdir, tmp_path / "samples", config, num_samples=8)
    assert "optimal transport onto" in caplog.text
    assert "samples are nearer to training examples than held-out examples are" in caplog.text
    assert record["results"]["novelty"] < 0.9
    assert record["sampler"] == "unipc_2, 2 steps, from optimal_transport with noise 0.02"
    assert record["results"]["num_evals"] == 3
    run = Run.of_checkpoint(config, workdir, devices=jax.devices()[:1])
    (kept,) = (workdir / "starts").glob("optimal_transport_*.npz")
    before, content = kept.stat().st_mtime_ns, np.load(kept)["potential"]
    np.testing.assert_array_equal(run.system.start.place.potential, content)
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(kept.read_bytes()[:100])  # damaged: computed again
    with caplog.at_level("WARNING"):
        mended = make_start(config, run.train, run.key, 0, workdir)
    assert "is not used, and computed again" in caplog.text
    np.testing.assert_array_equal(mended.place.potential, content)
    config.sampling.update(start_cells=2, start_angle=0.0)  # every pair is singular
    with caplog.at_level("INFO"):
        extended = make_start(config, run.train, run.key, 0, workdir).place
    assert "1.000 of samples of the prior lie beside a singular pair" in caplog.text
    z = jax.random.normal(run.key, (5, *extended.targets.shape[1:]))
    np.testing.assert_allclose(extended.extended(z), extended.targets[extended.cell(z)], rtol=1e-6)
    config.sampling.start_cells = 17
    with pytest.raises(ValueError, match="start_cells = 17, but there are 16 training examples"):
        make_start(config, run.train, run.key, 0, workdir)


def test_an_evaluation_reports_novelty(workdir):
    config = config_of("noised_data", start_noise=0.02)
    config.eval.update(enable_loss=False, enable_bpd=False, enable_metrics=False, num_samples=8, begin_ckpt=1)
    config.eval.end_ckpt = 1
    (path,) = run_lib.evaluate_run(Run.of_checkpoint(config, workdir, devices=jax.devices()[:1]))
    report = read_checkpoint(path)
    assert report.numbers["samples.novelty.value"] < 0.9
    assert {"novelty", "near copies"} <= {column.heading for column in report.columns}


def test_examples_of_a_users_own_are_edited(workdir, tmp_path):
    """With next to no noise they stay as they are; all steps lie below the start."""
    arrays, record = sampled(
        workdir, tmp_path / "edit", config_of("prior"), "edit", input="test:0,1", num_samples=2, noise_std=0.01
    )
    given = np.repeat(arrays["input"].astype(int), 2, axis=0)
    assert np.abs(arrays["arr_0"] - given).mean() < 8
    assert record["results"]["num_evals"] == 3


def test_a_gaussian_start_has_the_mean_and_the_total_variance_of_the_training_examples(workdir):
    config = config_of("gaussian", start_noise=2.0)
    run = Run.of_checkpoint(config, workdir, devices=jax.devices()[:1])
    levels = run.train.fetch(np.arange(len(run.train)))["x"]
    x = np.asarray(data.to_model(config, run.train.num_levels)(levels), np.float64).reshape(len(levels), -1)
    place = run.system.start.place
    np.testing.assert_allclose(place.mean[0], x.mean(0), atol=1e-6)
    total = float((place.components[0] ** 2).sum()) + x.shape[1] * float(place.rest[0])
    assert total == pytest.approx(x.var(axis=0).sum(), rel=2 / len(x))  # some of it is divided by N - 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling.start": "noised_dat"}, "nearest: noised_data"),
        ({"sampling.start_noise": 1e6}, "is not among those of the SDE"),
        ({"sampling.start_noise": 1e-3}, "it ends at 0.001; start with more noise, or set config.sampling.eps"),
        ({"training.coupling": "optimal_transport"}, "noise depends on the example"),
        ({"model.stages": ("tokenizer=there",)}, "the model is one of codes"),
    ],
)
def test_starts_that_cannot_be_are_refused(changes, words, tmp_path):
    config = config_of("noised_data")
    for name, value in changes.items():
        section, key = name.split(".")
        config[section][key] = value
    with pytest.raises(ValueError, match=words):
        Run(config, str(tmp_path))
