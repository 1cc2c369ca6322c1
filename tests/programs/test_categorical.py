"""Diffusion of categories through the programs: training, evaluation, samples, known sites, other data and devices."""

import json
import re
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import run_lib
from benchmarks import digits_samples
from programs.run import Run
from tests.support.configs import load

BOTTOM = np.arange(8)[:, None] >= np.full((1, 8), 4)


def small(path="configs/vqddm/digits_absorbing.py", **model):
    """Ten steps of a transformer of a few thousand parameters."""
    config = load(path)
    config.model.update(nf=4, num_heads=2, num_res_blocks=1, num_labels=10, label_dropout=0.2, **model)
    config.training.update(batch_size=16, n_iters=10, log_freq=5, eval_freq=5, snapshot_freq=10)
    config.training.update(snapshot_freq_for_preemption=5, snapshot_num_samples=16)
    config.sampling.update(num_steps=4, trajectory=4)
    config.eval.update(begin_ckpt=1, end_ckpt=1, batch_size=160, num_samples=24, num_probes=2, wait_seconds=5.0)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a run on one device."""
    workdir = tmp_path_factory.mktemp("categorical")
    run_lib.train_run(Run(small(), workdir, jax.devices()[:1]))
    return workdir


def losses_of(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines for key in ("loss", "test_loss") if key in line]


def test_eight_devices_have_the_losses_of_one(trained, tmp_path):
    run_lib.train_run(Run(small(), tmp_path))
    assert len(jax.devices()) == 8 and len(losses_of(tmp_path)) == 4
    np.testing.assert_allclose(losses_of(tmp_path), losses_of(trained), rtol=1e-5)  # sums in another order


def test_two_workers_write_the_report_of_one_with_bits_and_their_error(trained, command_line):
    for words in (["--eval_folder=alone"], *([f"--eval_worker={k}", "--eval_workers=2"] for k in (0, 1))):
        done = command_line(f"--workdir={trained}", "--mode=eval", "--config.sampling.trajectory=0", *words)
        assert done.code == 0, done.error
    alone, shared = (trained / name / "ckpt_1" for name in ("alone", "eval"))
    for name in ("report.json", "samples.npz", "samples.png"):
        assert (alone / name).read_bytes() == (shared / name).read_bytes()
    found = json.loads((alone / "report.json").read_text())["results"]
    bits = found["bits_per_dim"]
    # Ten steps from uniform categories, log2 17 = 4.09.
    assert 2.0 < bits["mean"] < 4.2 and 0 < bits["standard_error"] < 0.2 and bits["num_examples"] == 300
    assert bits["num_evals_mean"] == 2 and bits["probe_standard_error_mean"] > 0
    samples = np.load(alone / "samples.npz")["arr_0"]
    assert samples.shape == (24, 8, 8, 1) and samples.dtype == np.uint8 and samples.max() < 17
    assert (trained / "samples" / "snapshot_1.gif").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--config.sampling.method=confidence", "--config.sampling.remasking=1.0", "--config.sampling.temperature=0.5"],
        ["--config.sampling.guidance=classifier_free", "--config.sampling.guidance_scale=2.0", "--labels=3"],
        ["--config.sampling.guidance=classifier_free", "--request.infer_class"],
    ],
    ids=["ancestral", "confidence", "guided", "inferred"],
)
def test_known_sites_stay_in_inpainted_digits(trained, command_line, tmp_path, words):
    Image.fromarray(BOTTOM.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    words = [*words, f"--mask={tmp_path / 'mask.png'}", "--input=test:0,5,7", "--num_samples=2", f"--output={tmp_path}"]
    done = command_line(f"--workdir={trained}", "--mode=sample", "--task=inpaint", *words)
    assert done.code == 0, done.error
    with np.load(tmp_path / "samples.npz") as found:
        samples, truth = found["samples"], np.rint(16 * found["input"]).astype(int)
        assert samples.shape == (3, 2, 8, 8, 1) and samples.max() < 17
        np.testing.assert_array_equal(samples[:, :, BOTTOM], np.repeat(truth[:, None], 2, 1)[:, :, BOTTOM])
        assert (samples[:, 0] != samples[:, 1]).any()
        assert (found["measurement"][:, ~BOTTOM] == 0).all()
    assert json.loads((tmp_path / "record.json").read_text())["results"]["metrics"]["psnr"]["value"] > 0
    assert Image.open(tmp_path / "samples.png").size[0] > 8


def test_what_cannot_be_asked_is_one_sentence(trained, command_line):
    for words, message in (
        (["--task=colorize"], "--task=colorize is not known to config.system = 'categorical'; .*inpaint"),
        (["--task=inpaint"], "--task=inpaint needs --input"),
        (
            ["--task=inpaint", "--request.infer_class", "--labels=3"],
            "by what is known, but --labels gives it; leave out",
        ),
        (["--task=class", "--labels=10"], "--labels has the class 10, but there are the classes 0 to 9"),
        (["--config.model.corruption=uniform"], "model.corruption"),
        (["--config.sampling.method=ode"], "config.sampling.method = 'ode' is not known"),
    ):
        done = command_line(f"--workdir={trained}", "--mode=sample", *words)
        assert done.code == 2 and "\n" not in done.error, (words, done)
        assert re.search(message, done.error), done.error


def test_the_benchmark_judges_samples(trained, monkeypatch, capsys):
    words = ["digits_samples", f"--workdir={trained}", "--num=10", "--samples=1"]
    monkeypatch.setattr(sys, "argv", words)
    digits_samples.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [next(iter(line)) for line in lines] == ["novelty", "class_match", "inpainting"]
    assert lines[0]["novelty"] > 1 and lines[1]["held_out"] > 0.8 and 0 <= lines[2]["by_marginals"] < 0.9


def test_sequences_of_tokens_are_data_of_a_user(tmp_path, command_line):
    """A vector of integers: uniform noise on a grid of four steps; an entry that is out of range is named."""
    first, step = np.divmod(np.arange(160), 5)
    tokens = ((first[:, None] + step[:, None] * np.arange(6)) % 5).astype(np.uint8)
    np.save(tmp_path / "tokens.npy", tokens)
    flags = [
        f"--config.data.dataset=npy:{tmp_path / 'tokens.npy'}", "--config.data.num_levels=5", "--config.model.nf=4",
        "--config.model.num_heads=2", "--config.model.num_res_blocks=1", "--config.model.num_categories=5",
        "--config.model.num_scales=4", "--config.training.continuous=False", "--config.training.batch_size=16",
        "--config.training.n_iters=4", "--config.training.log_freq=2", "--config.training.snapshot_freq=4",
        "--config.training.snapshot_freq_for_preemption=2", "--config.training.eval_freq=0",
        "--config.training.snapshot_sampling=False", "--config.sampling.num_steps=2", "--config.eval.begin_ckpt=1",
        "--config.eval.end_ckpt=1", "--config.eval.batch_size=16", "--config.eval.num_samples=8",
    ]  # fmt: skip
    run = ["--config=configs/vqddm/digits_uniform.py", f"--workdir={tmp_path / 'run'}", *flags]
    done = command_line("--mode=train", *run)
    assert done.code == 0, done.error
    done = command_line("--mode=eval", f"--workdir={tmp_path / 'run'}", *flags[-8:])
    assert done.code == 0, done.error
    folder = tmp_path / "run" / "eval" / "ckpt_1"
    samples, report = np.load(folder / "samples.npz")["arr_0"], json.loads((folder / "report.json").read_text())
    assert samples.shape == (8, 6) and samples.max() < 5
    assert 1 < report["results"]["bits_per_dim"]["mean"] < 3.5  # log2 5 = 2.3, and some more for an untrained model
    tokens[3, 2] = 5
    np.save(tmp_path / "tokens.npy", tokens)
    done = command_line("--mode=train", *run[:1], f"--workdir={tmp_path / 'other'}", *flags)
    assert done.code == 3 and "has the value 5, but levels 0 to 4 are expected" in done.error
    done = command_line("--mode=train", *run, "--config.model.num_categories=7")
    assert done.code == 2 and "num_categories = 7, but" in done.error and "set it to 5" in done.error
