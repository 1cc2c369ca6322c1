"""The program eval: what it leaves for other programs, what it computes once, and what ends it."""

import errno
import json
import logging
import os
import pathlib
import re
import time
import types

import jax
import numpy as np
import pytest

import run_lib
from configs import default
from core.errors import RunError
from core.files import STALE_SECONDS, remove_stale
from data.readers.samples import read_batches
from evaluation.metrics import table
from evaluation.rounds import run_task
from evaluation.tasks.samples import samples_task
from programs import compare, evaluate, metrics, restore_run
from programs.run import Run
from tests.support.configs import load
from tests.support.evaluations import evaluated
from tests.support.runs import compared, untrained
from training.checkpoint import CheckpointError, CheckpointMissingError


def loss_only(**settings):
    config = compared(enable_metrics=False, **settings)
    config.eval.update(enable_loss=True, enable_sampling=False, batch_size=16, end_ckpt=1)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """128 test images in eight rounds."""
    return untrained(loss_only(), tmp_path_factory.mktemp("program") / "run")


def test_a_full_disk_is_one_sentence_and_finished_rounds_are_kept(run, monkeypatch):
    (whole,) = run_lib.evaluate_run(run, "whole")
    sync, written = os.fsync, []

    def full(descriptor):
        name = pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        if "round" in name and len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.extend([name] if "round" in name else [])
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"full cannot be written \(No space left on device\); finished rounds") as error:
        run_lib.evaluate_run(run, "full")
    assert "\n" not in str(error.value) and not isinstance(error.value, CheckpointError)
    folder = run.workdir / "full" / "ckpt_1"
    assert sorted(path.name for path in (folder / "loss").iterdir()) == [f"round_0000{i}.npz" for i in range(3)]
    monkeypatch.undo()
    kept = {path: path.stat().st_mtime_ns for path in (folder / "loss").iterdir()}
    (report,) = run_lib.evaluate_run(run, "full")
    assert report.read_bytes() == whole.read_bytes()
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())  # not computed again


def test_what_is_no_trouble_of_the_disk_is_not_taken_for_it(run, monkeypatch):
    def broken(*arguments):
        raise OSError(errno.EIO, "the bus")

    monkeypatch.setattr(evaluate, "run_task", broken)
    with pytest.raises(OSError, match="the bus"):
        run_lib.evaluate_run(run, "broken")


def test_wall_time_is_beside_the_report_and_the_overview_follows_it(run, capsys):
    (path,) = run_lib.evaluate_run(run, "timed")
    (line,) = [json.loads(line) for line in (path.parent / "wall_seconds.jsonl").read_text().splitlines()]
    assert line["seconds"] > 0 and (line["task"], line["worker"], line["workers"]) == ("loss", 0, 1)
    assert "seconds" not in json.dumps(json.loads(path.read_text())["results"])
    said = capsys.readouterr().out
    assert f"overview       {path.parent.parent / 'report.html'}\n" in said and "best" not in said  # of one
    assert {"report.csv", "report.html", "report.png", "best.json"} <= {p.name for p in path.parent.parent.iterdir()}


def test_warnings_are_told_once_and_the_best_of_several_and_what_is_a_deviation(tmp_path, monkeypatch, capsys, caplog):
    def written(run, restored, directory, worker):
        evaluated(directory.parent, restored.number, bits=False)
        return directory / "report.json"

    config = loss_only()
    config.eval.end_ckpt = 2
    kept = types.SimpleNamespace(
        numbers=lambda: [1, 2],
        config=lambda number: default.to_json(config),
        close=lambda: None,
    )
    monkeypatch.setattr(restore_run, "store_of", lambda workdir: kept)
    monkeypatch.setattr(evaluate, "evaluate_checkpoint", written)
    restore = lambda number: restore_run.Restored(number, 0, {})  # noqa: E731
    run_lib.evaluate_run(types.SimpleNamespace(workdir=tmp_path, config=config, restore=restore))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["FID compares <few> samples", "750 <halves> are few"]
    said = capsys.readouterr().out
    assert said.count("(best: checkpoint 2, after 100,000 steps, by FID: ") == said.count("best") == 1
    assert re.search("KID +-0.00089 ± 0.0037 +0.0015 +± standard deviation over parts\n", said)


def test_a_half_written_checkpoint_is_never_read(tmp_path):
    run = untrained(loss_only(wait_seconds=0.1), tmp_path)
    whole = tmp_path / restore_run.FOLDER / "1"
    whole.rename(whole.with_name("1.orbax-checkpoint-tmp"))  # as it is called until it is whole
    with pytest.raises(CheckpointMissingError, match=r"Checkpoint 1 is not in .* \(waited 0.1 s\); found: none"):
        run_lib.evaluate_run(run)
    (tmp_path / "metrics.jsonl").write_text("")
    os.utime(tmp_path / "metrics.jsonl", (time.time() - 500,) * 2)
    with pytest.raises(
        CheckpointMissingError, match=r"waited 0.1 s; the trainer's last line of metrics is 5\d\d s old"
    ):
        run_lib.evaluate_run(run)
    assert not (tmp_path / "eval").exists()


def test_an_evaluation_that_starts_before_the_training_waits_for_it_and_creates_nothing(tmp_path):
    workdir = tmp_path / "to come"
    run = Run(loss_only(wait_seconds=0.1), str(workdir), jax.devices()[:1])
    with pytest.raises(
        CheckpointMissingError, match=r"^Checkpoint 1 is not in .*to come.* \(waited 0.1 s\); found: none"
    ):
        run_lib.evaluate_run(run)
    assert not workdir.exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"model": 3}', b'{"model": {"name": []}, "eval": null}'])
def test_settings_of_an_evaluation_that_are_damaged_are_one_sentence(run, content):
    run_lib.evaluate_run(run, "damaged")
    path = run.workdir / "damaged" / "ckpt_1" / "config.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"^{path} .*\.$"):
        run_lib.evaluate_run(run, "damaged")
    path.unlink()  # the next case begins with the same run


@pytest.mark.parametrize("content", [b"", b"\xff", b'{"results": {"loss": 1}}', b'{"checkpoint": "x", "results": {}}'])
def test_the_damaged_report_of_another_checkpoint_is_left_out_of_the_overview(run, caplog, content):
    (report,) = run_lib.evaluate_run(run, "reports")
    other = report.parent.parent / "ckpt_7" / "report.json"
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(content)
    assert run_lib.evaluate_run(run, "reports") == [report] and "ckpt_7/report.json" in caplog.text
    assert (report.parent.parent / "report.csv").read_text().count("\n") == 2


@pytest.mark.parametrize("form", ["npz", "png", "both"])
def test_samples_are_left_in_the_form_that_is_asked_for(run, tmp_path, form, monkeypatch):
    levels = np.random.default_rng(0).integers(0, run.test.num_levels, (40, *run.test.shape), np.uint8)

    def generate(start, count):
        return {"samples": np.resize(levels, (48, *levels.shape[1:]))[start : start + count], "num_evals": 7}

    task = samples_task(40, 16, generate)
    run_task(task, tmp_path)
    system = types.SimpleNamespace(evaluations={"samples": lambda number, params: task}, picture=run.system.picture)
    monkeypatch.setitem(run.config.eval, "sample_format", form)
    monkeypatch.setitem(run.config.eval, "num_samples", 40)
    for _ in range(2):  # what is there stays
        evaluate.write_samples(types.SimpleNamespace(system=system, spec=run.spec, config=run.config), 1, tmp_path)
    left = {path.name for path in tmp_path.iterdir()} - {"samples", "samples.png"}
    assert left == {"npz": {"samples.npz"}, "png": {"samples_png"}, "both": {"samples.npz", "samples_png"}}[form]
    if form != "png":
        np.testing.assert_array_equal(np.load(tmp_path / "samples.npz")["arr_0"], levels)
    if form != "npz":
        np.testing.assert_array_equal(np.concatenate(list(compare.read_levels(run, tmp_path / "samples_png"))), levels)
        assert sum(len(batch) for batch in read_batches(tmp_path / "samples_png", 7)) == 40


def test_a_form_of_samples_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ValueError, match="config.eval.sample_format = 'pngs' is not known; choose one of .*: png"):
        untrained(loss_only(sample_format="pngs"), tmp_path)


def test_what_data_reach_against_data_is_computed_once(tmp_path, monkeypatch):
    real = {"features": np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)}
    baseline, computed = table.baseline, []

    def counting(*arguments, **settings):
        computed.append(settings["names"])
        return baseline(*arguments, **settings)

    monkeypatch.setattr(table, "baseline", counting)
    first = metrics.baseline(real, ["fid", "recall"], 3, tmp_path)
    assert metrics.baseline({"features": real["features"].copy()}, ["fid", "recall"], 3, tmp_path) == first
    assert computed == [["fid", "recall"]]
    assert first["fid"]["value"] == baseline(real, names=["fid"], seed=3)["fid"].value  # to the last bit
    changed = {"features": real["features"] + np.float32(0.5)}
    for arguments in ((changed, ["fid", "recall"], 3), (real, ["fid"], 3), (real, ["fid", "recall"], 4)):
        metrics.baseline(*arguments, tmp_path)
    assert len(computed) == 4


def test_features_of_data_that_are_cut_in_another_way_have_another_folder(run, monkeypatch):
    monkeypatch.setitem(run.config.eval, "features", "pixels")
    folder = metrics.reference_folder(run, pathlib.Path(), run.extractor)
    monkeypatch.setitem(run.config.eval, "batch_size", 48)
    assert metrics.reference_folder(run, pathlib.Path(), run.extractor) != folder


def test_what_killed_workers_left_is_removed_after_an_hour(tmp_path):
    old, new, kept = tmp_path / ".samples.npz.01.tmp", tmp_path / ".report.json.02.tmp", tmp_path / "report.json"
    folder = tmp_path / ".samples_png.03.tmp"
    folder.mkdir()
    for path in (old, new, kept, folder / "000000.png"):
        path.write_bytes(b"")
    for path in (old, kept, folder):
        os.utime(path, (time.time() - 2 * STALE_SECONDS,) * 2)
    remove_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, kept.name]


def test_a_classifier_has_an_accuracy(tmp_path):
    config = load("configs/subvp/digits_classifier.py")
    config.model.update(channel_multiplier=1)
    config.eval.batch_size = 128
    run = untrained(config, tmp_path)
    (path,) = run_lib.evaluate_run(run)
    report = json.loads(path.read_text())
    found = report["results"]["accuracy"]["accuracy"]
    assert found["num_examples"] == len(run.test) == 300 and 0 < found["error"] < 0.05
    variables = restore_run.restore(tmp_path).variables
    batch = run.test.fetch(np.arange(300))
    logits = run.system.logits(variables, run.system.on_devices(batch))
    assert found["value"] == pytest.approx((np.argmax(logits, axis=1) == batch["label"]).mean())
    assert [column["heading"] for column in report["columns"]] == ["test loss", "accuracy"]
