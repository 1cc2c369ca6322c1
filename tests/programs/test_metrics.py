"""Samples compared with data: statistics files, other people's samples, and workers that share an evaluation."""

import dataclasses
import json
import types

import numpy as np
import pytest
from PIL import Image

import run_lib
from builders import features
from core.errors import ExitCode, RunError
from evaluation import rounds
from evaluation.metrics import reference, table
from evaluation.rounds import Worker, worker_of
from interop.formats import inception_weights
from programs import compare, metrics
from reports import console
from tests.support.configs import load
from tests.support.runs import compared, untrained


@pytest.fixture
def run(tmp_path):
    return untrained(compared(), tmp_path / "run")


def test_data_are_as_far_from_their_statistics_as_numbers_allow(run, tmp_path):
    """192 numbers of 512 uniform images: as samples of themselves they are at distance 0."""
    metrics.write_statistics(run, tmp_path / "stats.npz")
    images = run.train.fetch(np.arange(len(run.train)))["x"]
    np.savez(tmp_path / "samples.npz", images)
    run.config.eval.metrics = ("fid",)
    found = compare.of_files(run, tmp_path / "samples.npz", tmp_path / "stats.npz")["samples"]
    assert list(found) == ["fid"]
    assert found["fid"]["value"] == pytest.approx(0, abs=1e-6) and found["fid"]["num_samples"] == 512
    black = np.zeros((64, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "black.npz", black)
    far = compare.of_files(run, tmp_path / "black.npz", tmp_path / "stats.npz")["samples"]["fid"]["value"]
    values = images.reshape(512, -1) / 255
    # Of a point at 0: |mean|^2 + the trace of the covariance.
    assert far == pytest.approx((values.mean(0) ** 2).sum() + values.var(0, ddof=1).sum(), rel=1e-5)


def test_statistics_of_other_features_or_data_are_refused_by_name(run, tmp_path):
    metrics.write_statistics(run, tmp_path / "stats.npz")
    np.savez(tmp_path / "samples.npz", np.zeros((8, 8, 8, 3), np.uint8))
    other = untrained(compared(reference_dataset="test"), tmp_path / "run")
    other.config.eval.reference_dataset = "test"
    other.config.eval.metrics = ("fid",)
    with pytest.raises(ValueError, match="split.*train.*test"):
        compare.of_files(other, tmp_path / "samples.npz", tmp_path / "stats.npz")


def test_pictures_of_a_folder_are_compared_with_the_data_themselves(run, tmp_path, caplog):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(run.test.fetch(np.arange(100))["x"]):
        Image.fromarray(image).save(folder / f"{number}.png")
    found = compare.of_files(run, folder, None)["samples"]
    assert found.keys() == {"fid", "kid", "precision", "recall"}
    told = [record.getMessage() for record in caplog.records]
    assert told == [found[name]["warning"] for name in ("fid", "kid", "precision")]  # that of recall is the same
    # Images of the same law: KID is unbiased, so near 0 by its error; black ones are far.
    assert abs(found["kid"]["value"]) < 5 * found["kid"]["error"]
    np.savez(tmp_path / "black.npz", np.zeros((100, 8, 8, 3), np.uint8))
    black = compare.of_files(run, tmp_path / "black.npz", None)["samples"]
    assert black["precision"]["value"] == 0 and black["kid"]["value"] > 10 * abs(found["kid"]["value"])


def given(config, folder, **flags):
    """The flags of --mode=metrics."""
    flags = {"samples": None, "stats": None, "reference": None, "output": None, **flags}
    return types.SimpleNamespace(mode="metrics", config=config, workdir=str(folder / "run"), **flags)


def never(images):
    raise AssertionError("features were computed")


@pytest.mark.parametrize("names", [("fid", "kid", "coverage"), ("precision",)])
def test_figures_that_statistics_cannot_give_are_refused_before_features(run, tmp_path, names):
    metrics.write_statistics(run, tmp_path / "stats.npz")
    np.savez(tmp_path / "samples.npz", np.zeros((8, 8, 8, 3), np.uint8))
    run.config.eval.metrics = names
    run.extractor = dataclasses.replace(run.extractor, extract=never)
    refused = ", ".join(name for name in names if name != "fid")
    with pytest.raises(
        ValueError, match=rf"has {refused}, for which .* or give --config.eval.metrics=\"\('fid',\)\"\."
    ):
        compare.of_files(run, tmp_path / "samples.npz", tmp_path / "stats.npz")


@pytest.mark.parametrize("form", ["folder", "npz"])
def test_too_few_samples_are_told_with_folder_and_key_before_features(run, tmp_path, form):
    images = run.test.fetch(np.arange(2))["x"]
    if form == "npz":
        np.savez(path := tmp_path / "two.npz", images)
    else:
        (path := tmp_path / "two").mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(path / f"{number}.webp", lossless=True)
    run.extractor = dataclasses.replace(run.extractor, extract=never)
    run.config.eval.metrics = ("kid",)
    with pytest.raises(
        ValueError, match=rf"eval.metrics has kid, .* at least 4 samples .* there are 2 \(.*{path.name}\)"
    ):
        compare.of_files(run, path)
    if form == "folder":  # the last file is at fault, which the headers say
        Image.new("RGB", (9, 8)).save(path / "9.png")
        with pytest.raises(ValueError, match=r"9.png is 8x9, but .*0.webp 8x8"):
            compare.of_files(run, path)


def test_two_folders_are_compared_whole_whatever_size_a_network_takes(tmp_path, capsys):
    """50x70 cannot be halved as often as the network of the config does; one side is gray and has 16 bits."""
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 2**16, (30, 50, 70), np.uint16)
    for name, count in (("samples", 12), ("real", 30)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(levels[:count]):
            shown = image if name == "real" else np.round(image * (255 / (2**16 - 1))).astype(np.uint8)
            Image.fromarray(shown).save(tmp_path / name / f"{number:02d}.png")
    config = load("configs/subvp/pictures_ddpmpp_continuous.py")
    config.eval.update(features="thumbnails", metrics=("fid", "kid", "recall"), batch_size=7)
    flags = given(config, tmp_path, samples=str(tmp_path / "samples"), reference=str(tmp_path / "real"))
    show = compare.command(flags)
    show()
    said = capsys.readouterr().out
    assert "FID (thumbnails)" in said and "real vs. real" in said
    (path,) = (tmp_path / "run" / "metrics").glob("samples-*/metrics.json")
    assert said.endswith(f"-> {path}\n")
    report = json.loads(path.read_text())
    fid, floor = report["samples"]["fid"], report["data_against_data"]["fid"]
    assert (fid["num_samples"], fid["num_real"], floor["num_samples"]) == (12, 30, 15)  # no tenth is held out
    assert report["samples"]["recall"]["value"] > 0  # the same images, of 8 and of 16 bits
    assert report["samples_path"] == str(tmp_path / "samples") and report["compared_with"] == str(tmp_path / "real")
    assert (
        report["config"]["eval"]["features"] == "thumbnails" and report["columns"][0]["heading"] == "FID (thumbnails)"
    )
    compare.command(given(config, tmp_path, samples=str(tmp_path / "real"), reference=str(tmp_path / "real")))()
    assert len(list((tmp_path / "run" / "metrics").iterdir())) == 2  # another comparison has another folder


def test_data_of_any_size_need_no_network(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 50, 70, 3), np.uint8))
    config = load("configs/subvp/pictures_ddpmpp_continuous.py")
    config.data.update(dataset=f"npy:{tmp_path / 'x.npy'}", resize=None)
    config.eval.update(features="thumbnails", metrics=("fid",), batch_size=16)
    write = metrics.stats_command(given(config, tmp_path, stats=str(tmp_path / "stats.npz")))
    assert not (tmp_path / "stats.npz").exists()  # as --dry_run leaves it
    write()
    assert reference.load(tmp_path / "stats.npz").num == 36  # without every tenth


def test_a_sample_whose_pixels_are_damaged_is_one_sentence(tmp_path):
    for name in ("samples", "real"):
        (tmp_path / name).mkdir()
        for number in range(8):
            noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.png")
    path = tmp_path / "samples" / "7.png"
    path.write_bytes(path.read_bytes()[:300])
    config = compared()
    config.eval.update(features="thumbnails", metrics=("fid",))
    flags = given(config, tmp_path, samples=str(tmp_path / "samples"), reference=str(tmp_path / "real"))
    run = compare.command(flags)
    with pytest.raises(RunError, match=r"7.png is damaged") as error:
        run()
    assert error.value.exit_code == ExitCode.USER_ERROR


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"stats": "a.npz", "reference": "b"},
            "--stats=a.npz and --reference=b are two things to compare with; give one",
        ),
        ({"reference": "nowhere"}, "nowhere is neither a folder of .* nor an .npz file"),
        ({"samples": None}, "--mode=metrics needs --samples=PATH"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_sentence(tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        compare.command(given(compared(), tmp_path, **{"samples": "s", **flags}))


@pytest.mark.parametrize("published", [True, False])
def test_a_report_says_which_file_the_weights_are_from(tmp_path, monkeypatch, published):
    """Two files may hold the same parameters; FID has its plain name by the published file alone."""
    (tmp_path / "weights.pth").write_bytes(b"")
    weights = inception_weights.Weights({}, "0123abcd" * 8, published)
    monkeypatch.setattr(features.inception_weights, "load", lambda path, like: weights)
    plain = features.EXTRACTORS["pixels"]
    monkeypatch.setattr(features, "inception_extractor", lambda params, batch_size: plain(None, 256, None))
    config = compared(inception_weights=str(tmp_path / "weights.pth"))
    config.eval.features = "inception"
    run = untrained(config, tmp_path / "run")
    np.savez(tmp_path / "samples.npz", run.test.fetch(np.arange(100))["x"])
    config.eval.metrics = ("fid",)
    report = compare.of_files(run, tmp_path / "samples.npz")
    assert (report["weights"], report["weights_sha256"]) == ("weights.pth", "0123abcd" * 8)
    assert report["weights_published"] is published
    assert (report["compared_with"], report["split"]) == ("synthetic", "train")
    assert report["columns"][0]["heading"] == ("FID" if published else "FID (inception 0123abcd)")
    metrics.write_statistics(run, tmp_path / "stats.npz")
    assert reference.load(tmp_path / "stats.npz").provenance["weights_sha256"] == "0123abcd" * 8


def test_the_program_metrics_says_which_errors_are_deviations():
    kid = {"value": 0.03, "error": 0.005, "error_from": "standard deviation over 100 subsets of 150"}
    figures = {
        "kid": {**kid, "standard_deviation": 0.005},
        "fid": {"value": 4.5, "error": 0.2, "error_from": "jackknife"},
    }
    columns = [column.to_dict() for column in table.columns(figures)]
    first, second = console.figures({"samples": figures, "columns": columns}).splitlines()
    assert first.split() == ["FID", "4.5", "±", "0.2"]
    assert second.split()[:4] == ["KID", "0.03", "±", "0.005"]
    assert second.endswith("  ± standard deviation over 100 subsets of 150")


def test_samples_of_another_size_are_refused(run, tmp_path):
    np.savez(tmp_path / "samples.npz", np.zeros((8, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"has images \(4, 4, 3\), but the data are \(8, 8, 3\)"):
        compare.of_files(run, tmp_path / "samples.npz", None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": "inception"}, "needs config.eval.inception_weights"),
        (
            {"features": "inception", "inception_weights": "no.pth"},
            r"^config.eval.inception_weights = no.pth is not a file in /.*; download pt_inception-2015-.*pth "
            "from the releases of pytorch-fid .* and give its path, or set config.eval.features = 'thumbnails'",
        ),
        ({"features": "classifier"}, "needs config.eval.classifier_workdir"),
        ({"features": "pixel"}, "config.eval.features = 'pixel' is not known; .*nearest: pixels"),
        ({"features": "nothing.at_all:here"}, "nothing.at_all cannot be imported"),
        ({"features": "classifier", "classifier_workdir": "nowhere"}, "No checkpoint was found in nowhere"),
    ],
)
def test_features_that_cannot_be_had_are_told_in_one_sentence(tmp_path, settings, message):
    config = compared()
    config.eval.update(settings)
    with pytest.raises(ValueError, match=message) as error:
        _ = untrained(config, tmp_path).extractor
    assert "\n" not in str(error.value)


def test_samples_with_levels_are_not_compared_with_floats(tmp_path):
    np.savez(tmp_path / "samples.npz", np.zeros((4, 2), np.uint8))
    spec = types.SimpleNamespace(num_levels=0, shape=(2,), dtype="float32")
    run = types.SimpleNamespace(spec=spec, config=compared())
    with pytest.raises(
        ValueError, match=r"samples.npz has levels, but synthetic has floats .*; give data and samples on"
    ):
        next(compare.read_levels(run, tmp_path / "samples.npz"))


@pytest.mark.parametrize(
    ("values", "num_levels", "refused"),
    [((0, 255), 17, True), ((0, 1), 256, True), ((0, 255), 65536, True), ((0, 1), 2, False), ((0, 16), 17, False)],
)
def test_samples_on_another_scale_than_the_data_are_refused(tmp_path, values, num_levels, refused):
    np.savez(tmp_path / "s.npz", np.array(values, np.uint8).reshape(2, 1, 1, 1))
    spec = types.SimpleNamespace(num_levels=num_levels, shape=(1, 1, 1), dtype="uint16")
    run = types.SimpleNamespace(spec=spec, config=compared())
    found = compare.read_levels(run, tmp_path / "s.npz")
    if refused:
        message = f"s.npz has uint8 values up to {values[1]}, but the data have levels 0 to {num_levels - 1}; write"
        with pytest.raises(ValueError, match=message):
            next(found)
    else:
        assert next(found).ravel().tolist() == list(values)


def test_metrics_need_samples(tmp_path):
    config = compared(enable_metrics=True, enable_sampling=False)
    with pytest.raises(ValueError, match="but the evaluations are none; set config.eval.enable_sampling = True"):
        untrained(config, tmp_path)


def test_metrics_of_something_else_than_samples_are_refused(tmp_path):
    config = compared(enable_metrics=True, enable_sampling=True)
    config.eval.metrics = ("fid", "psnr")
    with pytest.raises(
        ValueError, match="config.eval.metrics has psnr, which needs predictions and the truth of the s"
    ):
        untrained(config, tmp_path)


@pytest.mark.parametrize("name", [name for name in table.METRICS if table.beyond_samples(name) is None])
def test_too_few_examples_are_told_before_anything_is_drawn(name):
    """What `check_numbers` lets through can be measured."""
    fewest = table.METRICS[name].fewest
    examples = np.random.default_rng(0).normal(size=(2 * max(fewest, 2), 3))
    found = {"features": examples, "logits": examples}
    table.measure({key: value[:fewest] for key, value in found.items()}, found, names=[name])
    table.baseline(found, names=[name])

    def run(num_samples, num_real):
        config = compared(num_samples=num_samples)
        config.eval.metrics = (name,)
        splits = types.SimpleNamespace(named=lambda split: range(num_real))
        return types.SimpleNamespace(config=config, splits=splits)

    metrics.check_numbers(run(fewest, len(examples)))
    for few in (run(fewest, len(examples) - 1), run(fewest - 1, len(examples))):
        with pytest.raises(ValueError, match=f"config.eval.metrics has {name}, which takes at least {fewest} samples"):
            metrics.check_numbers(few)


def test_workers_that_are_killed_leave_the_report_of_one_that_was_not(tmp_path, monkeypatch):
    """Three workers, each killed after every second round that it writes; begun again until one comes through."""
    config = compared(enable_sampling=True, enable_metrics=True, num_samples=40)
    config.eval.update(batch_size=16, enable_loss=True, end_ckpt=1)
    run = untrained(config, tmp_path / "run")
    (whole,) = run_lib.evaluate_run(run, "alone")
    report = json.loads(whole.read_text())["results"]
    assert report["loss"]["num_examples"] == 128 and report["metrics"]["samples"]["fid"]["num_samples"] == 40
    assert report["metrics"]["data_against_data"]["fid"]["num_samples"] == 256

    write, written = rounds.write_atomically, []

    def dying(path, content):
        write(path, content)
        written.append(path)
        if len(written) % 2 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "write_atomically", dying)
    reports, starts = [], 0
    while not reports:
        assert starts < 200, "no worker comes through"
        try:
            reports = run_lib.evaluate_run(run, "shared", Worker(starts % 3, 3))
        except KeyboardInterrupt:
            starts += 1
    assert starts > 5 and len(written) == len(set(written))  # none twice
    assert reports[0].read_bytes() == whole.read_bytes()
    (again,) = run_lib.evaluate_run(run, "shared", Worker(2, 3))
    assert again.read_bytes() == whole.read_bytes() and len(written) == len(set(written))


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ((None, None), {}, Worker(0, 1)),
        ((2, 4), {}, Worker(2, 4)),
        ((None, None), {"ID": "7", "MIN": "5", "COUNT": "3"}, Worker(2, 3)),
        ((0, 2), {"ID": "7", "MIN": "5", "COUNT": "3"}, Worker(0, 2)),
    ],
)
def test_a_worker_is_told_by_flags_or_by_a_slurm_array(monkeypatch, flags, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert worker_of(*flags) == expected


def test_a_worker_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="--eval_worker=4 --eval_workers=4: workers are numbered from 0 to 3"):
        worker_of(4, 4)


def test_a_metric_that_the_features_do_not_allow_is_told_before_anything_is_drawn(run):
    metrics.check(run)
    run.config.eval.metrics = ("fid", "inception_score")
    with pytest.raises(ValueError, match="config.eval.metrics has inception_score, which needs logits, .* 'pixels'"):
        metrics.check(run)


@pytest.mark.parametrize(
    "words", [("--mode=stats", "--stats={below}"), ("--mode=metrics", "--samples={folder}", "--output={below}")]
)
def test_where_results_go_is_tried_before_the_work(tmp_path, words, command_line):
    (tmp_path / "file").write_text("")
    (tmp_path / "x").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "x" / "a.png")
    below = tmp_path / "file" / "x"
    words = [word.format(below=below, folder=tmp_path / "x") for word in words]
    settings = (
        "--config.eval.features=pixels",
        "--config.eval.metrics=('precision',)",
        "--config.data.dataset=synthetic",
    )
    given = ("--config=configs/vp/smoke.py", f"--workdir={tmp_path}", "--config.data.num_channels=3", *settings)
    done = command_line(*given, *words)
    assert done.code == ExitCode.USER_ERROR and f"={below} cannot be written to (Not a directory)" in done.error
