"""Images and texts through the programs: training on several devices and resumed, both directions, own captions."""

import csv
import json

import jax
import numpy as np
import pytest

import run_lib
from core.keys import example_keys
from programs import convert, restore_run, sample
from programs.run import Run
from tests.support.configs import load
from tests.support.latents import begun
from tests.support.own_data import save
from tests.support.runs import asked, cut

STEPS = 4


def config_of(path="configs/mmar/digits.py", **training):
    """Four steps of a model of a few thousand parameters."""
    config = load(path)
    config.model.update(nf=2, num_heads=2, num_res_blocks=1)
    config.mmar.update(head_nf=2, head_blocks=1, rounds=3, first_stage_steps=2, evaluated_shares=(0.5,))
    config.training.update(batch_size=16, log_freq=1, eval_freq=0, snapshot_freq=STEPS, snapshot_sampling=False)
    config.training.update(snapshot_freq_for_preemption=2, **{"n_iters": STEPS, **training})
    config.optim.update(schedule="constant", warmup=2)
    config.sampling.num_steps = 3
    config.eval.update(begin_ckpt=1, end_ckpt=1, num_samples=8, num_examples=16, batch_size=8, rtol=1e-2, atol=1e-2)
    return config


def train(config, workdir, devices=1):
    run_lib.train_run(Run(config, str(workdir), jax.devices()[:devices]))
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [[line[key] for key in ("loss", "loss/text", "loss/image")] for line in lines if "loss" in line]


def executed(run, task, folder, **options):
    request = asked(run, task, **options)
    directory = sample.execute(run, request, sample.prepare(run, request), output=str(folder))
    return directory, np.load(directory / "samples.npz")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on one device, and its losses."""
    workdir = tmp_path_factory.mktemp("mmar")
    losses = train(config_of(), workdir)
    return Run(config_of(), str(workdir), jax.devices()[:1]), losses


def test_a_run_resumes_bit_for_bit_and_eight_devices_have_its_losses(trained, tmp_path):
    run, losses = trained
    assert len(losses) == STEPS and train(config_of(), cut(run.workdir, 2, tmp_path / "parts")) == losses[2:]
    parts, whole = (restore_run.restore(path).variables["params"] for path in (tmp_path / "parts", run.workdir))
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    several = train(config_of(), tmp_path / "several", devices=8)
    np.testing.assert_allclose(several, losses, rtol=1e-4)  # sums in another order


def test_two_workers_write_the_report_of_one(trained, command_line):
    run, _ = trained
    for words in (["--eval_folder=alone"], *([f"--eval_worker={k}", "--eval_workers=2"] for k in (0, 1))):
        names = "--config.eval.tasks=('understanding',)"
        done = command_line(f"--workdir={run.workdir}", "--mode=eval", names, *words)
        assert done.code == 0, done.error
    alone, shared = (run.workdir / name / "ckpt_1" / "report.json" for name in ("alone", "eval"))
    assert alone.read_bytes() == shared.read_bytes()
    found = json.loads(alone.read_text())["results"]["understanding"]
    assert found["svm"]["value"] > 0.5 and 0 <= found["accuracy"]["value"] <= 1  # of sixteen digits


def test_images_of_texts_and_texts_of_images(trained, tmp_path):
    run, _ = trained
    directory, found = executed(run, "text_to_image", tmp_path / "one", prompt="seven odd thick", num_samples=2)
    assert found["arr_0"].shape == (2, 8, 8, 1) and found["arr_0"].dtype == np.uint8 and found["arr_0"].max() <= 16
    np.testing.assert_array_equal(found["text"], [[8, 12, 14]] * 2)
    assert (directory / "samples.png").stat().st_size > 100
    (tmp_path / "prompts.txt").write_text("two even thin\n\nthree odd thick\n", encoding="utf-8-sig")  # by some editors
    _, found = executed(run, "text_to_image", tmp_path / "two", prompts=tmp_path / "prompts.txt", num_samples=1)
    np.testing.assert_array_equal(found["text"], [[3, 11, 13], [4, 12, 14]])
    directory, found = executed(
        run, "image_to_text", tmp_path / "three", input="test:0,1,2", num_samples=2, temperature=1.0
    )
    rows = list(csv.DictReader((directory / "texts.csv").open()))
    assert [row["input"] for row in rows] == ["test 0", "test 0", "test 1", "test 1", "test 2", "test 2"]
    assert all(float(row["logp_nats"]) < 0 for row in rows) and found["tokens"].shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "needs either --request.prompt=TEXT or --request.prompts=FILE .* of the words zero, one"),
        ({"prompt": "sevn odd thick"}, r"--request.prompt='sevn odd thick' has the word 'sevn', .*\(nearest: seven\)"),
        ({"prompt": "one odd thick thick"}, "has 4 words, but 1 to 3 are expected"),
    ],
)
def test_texts_that_cannot_be_drawn_are_refused_before_anything_is_compiled(trained, options, expected):
    with pytest.raises(ValueError, match=expected):
        sample.prepare(trained[0], asked(trained[0], "text_to_image", **options))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data.dataset": "digits"}, "digits has no texts: its fields are x, label"),
        ({"model.name": "ncsnpp"}, "config.model.name = 'ncsnpp' is not known; choose one of masked_ar"),
        ({"model.patch_size": 3}, "config.model.patch_size = 3 does not divide the sides"),
        ({"mmar.rounds": 17}, "config.mmar.rounds = 17, but an image has 16 tokens"),
        ({"mmar.head": "categories"}, "config.mmar.head = 'categories' needs tokens or levels"),
        ({"model.num_categories": 16}, "the image has tokens of 16 categories; use 'categories'"),
        ({"model.num_labels": 10}, "conditions images on texts alone"),
        ({"mmar.shares": (0.5, 0.5, 0.0)}, r"needs a model of images without texts, but the last of .* is 0"),
        ({"sampling.guidance": "autoguidance"}, "config.sampling.guidance = 'autoguidance' is not known"),
        ({"training.objective": "mean_flow"}, "objective = 'mean_flow' is for other kinds .* to 'score_matching'"),
        ({"training.uncertainty": True}, "config.training.uncertainty = True is for other kinds of models"),
        ({"data.augment": 0.1}, "config.data.augment = 0.1 is for other kinds of models .*; set it to 0.0"),
        (
            {"mmar.head": "categories", "data.uniform_dequantization": False, "sampling.guidance_min_sigma": 0.5},
            "guidance_min_sigma = 0.5 .* limit guidance to noise levels, which config.mmar.head = 'categories'",
        ),
    ],
)
def test_settings_that_do_not_fit_are_said_in_a_sentence(change, expected, tmp_path):
    config = config_of()
    for key, value in change.items():
        section, name = key.split(".")
        config[section][name] = value
    with pytest.raises(ValueError, match=expected):
        _ = Run(config, str(tmp_path), jax.devices()[:1]).system


def test_an_import_of_parameters_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"reads the parameters of one network, .* 'mmar' .* to a folder NAME.model"):
        convert.prepare_import(config_of(), tmp_path / "run", tmp_path / "missing.npz")


def test_what_is_not_trained_is_neither_sampled_nor_evaluated(tmp_path):
    config = config_of()
    config.sampling.guidance, config.eval.tasks = "none", ("loss",)
    found = {}
    for shares in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        config.mmar.shares = shares
        system = Run(config, str(tmp_path), jax.devices()[:1]).system
        found[shares.index(1.0)] = {*system.requests}, {*system.evaluations}
    assert found == {
        0: ({"image_to_text"}, {"loss", "understanding"}),
        1: ({"text_to_image"}, {"loss", "samples", "bits_per_dim", "head_likelihood", "text_to_image"}),
        2: ({"unconditional"}, {"loss", "samples"}),
    }
    assert system.labels(0, 2) is None


def test_likelihoods_are_of_dequantized_levels_whatever_training_does(tmp_path):
    config = config_of()
    config.data.uniform_dequantization = False
    system = Run(config, str(tmp_path), jax.devices()[:1]).system
    batch = system.context.splits.test.fetch(np.arange(4))
    x, log_ratio = system.measured(example_keys(jax.random.key(0), 4), batch)
    within = (np.asarray(x) + 1) / 2 * 17 - batch["x"]  # of the cell of each level
    assert within.min() >= 0 and within.max() <= 1 and within.std() > 0.25 and not log_ratio.any()
    config.eval.num_dequantizations = 2
    with pytest.raises(ValueError, match="num_dequantizations = 2, but config.system = 'mmar' dequantizes once"):
        Run(config, str(tmp_path), jax.devices()[:1]).system.evaluations["bits_per_dim"](1, {})


def test_levels_as_categories_and_own_captions_train_and_sample(tmp_path):
    config = config_of(n_iters=2, snapshot_freq=2)
    config.mmar.update(head="categories", rounds=4)
    config.eval.tasks = ("understanding", "text_to_image")
    config.data.uniform_dequantization = False
    losses = train(config, tmp_path / "levels")
    assert abs(losses[0][2] - np.log(17)) < 0.1  # from equally likely levels
    rng = np.random.default_rng(0)
    for k in range(8):
        save(tmp_path / "own" / f"{k}.png", rng.integers(0, 256, (12, 12, 3), np.uint8))
        (tmp_path / "own" / f"{k}.txt").write_text(f"no. {k}")
    config = config_of("configs/mmar/captions.py", n_iters=2, snapshot_freq=2)
    config.data.update(dataset=f"folder:{tmp_path / 'own'}", image_size=8)
    config.training.batch_size = 4
    train(config, tmp_path / "run")
    run = Run(config, str(tmp_path / "run"), jax.devices()[:1])
    _, found = executed(run, "text_to_image", tmp_path / "out", prompt="no. 3", num_samples=2)
    assert found["arr_0"].shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match=r"has 6 bytes, but 1 to 5 are expected"):
        sample.prepare(run, asked(run, "text_to_image", prompt="no. 33"))


def test_tokens_of_a_codebook_are_sampled_and_decoded_and_no_classifier_of_pixels_judges_them(tmp_path):
    tokenizer = load("configs/mmar/digits_tokenizer.py")
    tokenizer.model.nf = 4
    config = config_of("configs/mmar/digits_vq.py")
    config.model.stages = (f"tokenizer={begun(tokenizer, tmp_path / 'tokenizer')}",)
    run = Run(config, str(tmp_path / "run"), jax.devices()[:1])
    assert "text_to_image" in run.system.requests and "text_to_image" not in run.system.evaluations
    columns = [column.path for column in run.system.evaluations["understanding"](0, None).columns]
    assert columns == ["accuracy.value", "text_accuracy.value", "text_nats.value"]
    frozen = {name: stage.variables for name, stage in run.system.frozen.items()}
    variables = {**run.state().averaged_variables, "frozen": frozen}
    text = run.test.fetch(np.arange(2))["text"]
    found = run.system.generate(variables, run.system.sample_keys(1, 0, 2), {"text": text})
    assert found["samples"].shape == (2, 8, 8, 1) and found["samples"].dtype == np.uint8
