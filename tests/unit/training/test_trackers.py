"""Trackers get the lines of the log of metrics, once each, through kills, rollbacks and failures."""

import importlib.util
import json
import logging
import sys
import types

import numpy as np
import pytest

from tests.support.trackers import Recorder, seen, seen_lines
from training import trackers
from training.log import MetricsLog
from training.tracking import STATE, Tracking

RECORDER, UNREACHABLE = "tests.support.trackers:Recorder", "tests.support.trackers:Unreachable"
CONFIG = {"data": {"dataset": "digits"}}


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def train(workdir, first_step, last_step, name=RECORDER, speed=1.0, close=True):
    """What a training run of lines every 5 steps writes, from `first_step` on; without `close` it is killed."""
    tracking = Tracking(name, workdir, CONFIG)
    with MetricsLog(workdir, first_step, tracking) as log:
        for step in range(first_step + 5, last_step + 1, 5):
            log.write(step, {"loss": 1 / step, "images_per_second": speed * step}, "")
            log.write(step, {"test_loss": 2 / step}, "")
            log.image(step, "samples", np.zeros((4, 4, 1), np.uint8))
    if close:
        tracking.close()


@pytest.mark.parametrize("checkpoint", [0, 5, 10, 20])
def test_a_run_that_is_killed_and_resumes_sends_each_line_of_its_log_once(tmp_path, checkpoint):
    train(tmp_path, 0, 20, close=False)
    train(tmp_path, checkpoint, 30, speed=2.0)
    assert seen_lines(tmp_path) == lines_of(tmp_path)
    assert [(line["step"], "loss" in line) for line in lines_of(tmp_path)] == [
        (step, first) for step in range(5, 31, 5) for first in (True, False)
    ]
    opened = [entry["opened"] for entry in seen(tmp_path) if "opened" in entry]
    assert len(opened) == 2 and len(set(opened)) == 1  # one run
    assert [entry["at"] for entry in seen(tmp_path) if "image" in entry] == [5, 10, 15, 20, 25, 30]


@pytest.mark.parametrize("done", [0, 3, 4, 7])
def test_a_kill_between_two_lines_of_a_step_loses_none(tmp_path, done, monkeypatch):
    """The process dies when it has written `done` lines and sent those before; the last one may be cut off."""
    write = Recorder.log
    monkeypatch.setattr(Recorder, "log", lambda self, step, metrics: die(self, step, metrics))

    def die(self, step, metrics):
        if len(seen_lines(tmp_path)) == done:
            raise KeyboardInterrupt
        write(self, step, metrics)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 0, 20)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "lo')
    monkeypatch.undo()
    train(tmp_path, 5 if done > 1 else 0, 20, speed=3.0)
    assert seen_lines(tmp_path) == lines_of(tmp_path) and len(lines_of(tmp_path)) == 8


def test_a_tracker_that_fails_gets_what_it_missed_and_ends_nothing(tmp_path, caplog):
    (tmp_path / "down").touch()
    train(tmp_path, 0, 10, UNREACHABLE)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.endswith(
        "Unreachable failed (no route to host); training goes on, and what is missing is sent later"
    )
    assert not (tmp_path / "seen.jsonl").exists()
    (tmp_path / "down").unlink()
    train(tmp_path, 10, 20, UNREACHABLE)
    assert seen_lines(tmp_path) == lines_of(tmp_path) and len(lines_of(tmp_path)) == 8


def test_a_tracker_that_is_added_later_gets_the_whole_log_and_two_have_their_own_places(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(5, {"loss": 1.0}, "")
    train(tmp_path, 5, 10)
    assert seen_lines(tmp_path) == lines_of(tmp_path) and len(lines_of(tmp_path)) == 3
    (tmp_path / "seen.jsonl").unlink()
    train(tmp_path, 10, 15, UNREACHABLE)
    assert seen_lines(tmp_path) == lines_of(tmp_path)
    state = json.loads((tmp_path / STATE).read_text())
    assert state.keys() == {RECORDER, UNREACHABLE} and state[RECORDER]["run"] != state[UNREACHABLE]["run"]


@pytest.mark.parametrize("name", sorted(trackers.TRACKERS))
def test_a_tracker_that_is_not_installed_is_told_with_what_to_install(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(
        ValueError, match=f"--tracker={name} needs the package {name}: install it with .* -m pip install"
    ):
        trackers.find(name)


def test_a_tracker_that_does_not_exist_is_told_with_the_nearest():
    with pytest.raises(ValueError, match="--tracker=wandbb is not known; .*nearest: wandb"):
        trackers.find("wandbb")
    with pytest.raises(ValueError, match="--tracker = 'no.where:at_all': no.where cannot be imported"):
        trackers.find("no.where:at_all")


def test_wandb_gets_rows_and_images_of_one_run(tmp_path, monkeypatch):
    calls = []
    run = types.SimpleNamespace(
        log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("finished")
    )

    def init(**given):
        assert (given["resume"], given["dir"], given["config"]) == ("allow", str(tmp_path), CONFIG)
        calls.append(given["id"])
        return run

    fake = types.SimpleNamespace(init=init, Image=lambda image: image.shape, Settings=lambda **given: given)
    fake.__spec__ = types.SimpleNamespace(name="wandb")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    train(tmp_path, 0, 5, "wandb")
    assert calls[1:] == [
        (5, {"loss": 0.2, "images_per_second": 5.0}),
        (5, {"test_loss": 0.4}),
        (5, {"samples": (4, 4, 1)}),
        "finished",
    ]


class Forgetful(Recorder):
    """Writes what it gets when it is closed, as a tracker does that keeps rows in memory."""

    def __init__(self, run_id, workdir, config):
        self._rows = []
        super().__init__(run_id, workdir, config)

    def log(self, step, metrics):
        self._rows.append((step, metrics))

    def close(self):
        for step, metrics in self._rows:
            super().log(step, metrics)


def test_a_tracker_that_keeps_rows_in_memory_has_those_of_a_checkpoint_and_gets_the_others_again(tmp_path, monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "wandb", trackers.Entry(Forgetful, None))
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: True)

    def run(first_step, steps, killed):
        tracking = Tracking("wandb", tmp_path, CONFIG)
        with MetricsLog(tmp_path, first_step, tracking) as log:
            for step in steps:
                log.write(step, {"loss": 1 / step}, "")
                if step == 10:
                    log.sync()  # a checkpoint
        if not killed:
            tracking.close()

    run(0, (5, 10, 15, 20), killed=True)
    assert [line["step"] for line in seen_lines(tmp_path)] == [5, 10]
    run(10, (15, 20, 25), killed=False)
    assert seen_lines(tmp_path) == lines_of(tmp_path) and len(lines_of(tmp_path)) == 5


def test_what_settles_after_a_while_is_waited_for_at_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "trackio", trackers.Entry(Recorder, 0.2))
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: True)
    tracking = Tracking("trackio", tmp_path, CONFIG)
    with MetricsLog(tmp_path, 0, tracking) as log:
        log.write(5, {"loss": 1.0}, "")
        assert tracking.sent_bytes == 0
        log.sync()
        assert tracking.sent_bytes == (tmp_path / "metrics.jsonl").stat().st_size
    tracking.close()
