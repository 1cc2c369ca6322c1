"""A system that lies beside its config file: every program takes it, and no file of the project changes."""

import json
import sys

import numpy as np
import pytest

import run_lib
from evaluation import rounds
from sweeps import plan
from tests.support import toy

# ml_collections reads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder with the system, which becomes importable by its config file; at the end the project is as it was."""
    before, folder = toy.digests(), tmp_path_factory.mktemp("toy")
    toy.lay(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        yield folder
        sys.modules.pop("absorbing", None)
    assert len(before) > 300 and toy.digests() == before


def trained_for(place, name, steps):
    config = plan.configured([f"--config={place}/experiment.py", f"--config.training.n_iters={steps}"])
    run_lib.train_run(run_lib.Run(config, place / name))
    return place / name


@pytest.fixture(scope="module")
def trained(place):
    """A workdir after ten steps."""
    return trained_for(place, "whole", 10)


@pytest.fixture
def command(place, trained, command_line):
    """A command on that workdir, which succeeds."""

    def run(*words):
        done = command_line(f"--config={place}/experiment.py", f"--workdir={trained}", *words)
        assert done.code == 0, done.error

    return run


def test_five_steps_and_five_more_are_ten(place, trained, command, command_line):
    trained_for(place, "halves", 5)
    halves = trained_for(place, "halves", 10)
    command("--mode=export", f"--checkpoint={place}/whole.npz")
    command(f"--workdir={halves}", "--mode=export", f"--checkpoint={place}/halves.npz")
    with np.load(place / "whole.npz") as whole, np.load(place / "halves.npz") as halves:
        assert whole.files == halves.files and len(whole.files) == 4
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], halves[name])
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert any({"loss", "loss/bound", "loss/sites", "masked"} <= line.keys() for line in lines)
    assert (trained / "samples" / "snapshot_2.png").exists()


def test_two_workers_evaluate_each_round_once_and_write_the_same_report(trained, command, monkeypatch):
    command("--mode=eval", "--eval_folder=alone")
    write, written = rounds.write_atomically, []

    def counting(path, content):
        written.append(path)
        write(path, content)

    monkeypatch.setattr(rounds, "write_atomically", counting)
    for worker in (0, 1):
        command("--mode=eval", "--eval_folder=shared", f"--eval_worker={worker}", "--eval_workers=2")
    assert len(written) == len(set(written)) == 3 + 2  # rounds of 16 of 40 examples and 24 samples
    first, second = (trained / name / "ckpt_2" for name in ("alone", "shared"))
    report = json.loads((first / "report.json").read_text())
    assert report["results"]["elbo"]["num_examples"] == 40 and report["results"]["samples"]["num_samples"] == 24
    for name in ("report.json", "samples.npz", "samples.png"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    page = (trained / "shared" / "report.html").read_text()
    assert "-ELBO (nats)" in page and "absorbing:Absorbing" in page
    samples = np.load(first / "samples.npz")["arr_0"]
    assert samples.shape == (24, 4) and samples.dtype == np.uint8 and samples.max() < 5


def test_evaluations_are_chosen_by_name(trained, command):
    command("--mode=eval", "--eval_folder=chosen", "--config.eval.tasks=('elbo',)")
    report = json.loads((trained / "chosen" / "ckpt_2" / "report.json").read_text())
    assert list(report["results"]) == ["elbo"] and report["grid"] is None


def test_requests_have_options_of_their_own(place, trained, command, command_line):
    options = ("--request.known=3,1", "--request.at=0,2", "--request.num_samples=3", "--request.temperature=0")
    command("--mode=sample", "--task=complete", *options)
    found = np.load(trained / "sample" / "complete" / "samples.npz")["arr_0"]
    assert found.shape == (3, 4) and (found[:, [0, 2]] == [3, 1]).all() and found.max() < 5
    record = json.loads((trained / "sample" / "complete" / "record.json").read_text())
    assert record["request"]["known"] == [3, 1] and record["request"]["temperature"] == 0
    command("--mode=sample", "--num_samples=5")
    assert np.load(trained / "sample" / "unconditional" / "samples.npz")["arr_0"].shape == (5, 4)
    done = command_line(f"--config={place}/experiment.py", f"--workdir={trained}", "--mode=sample", "--task=complete",
                        "--mask=a.png")  # fmt: skip
    assert (
        done.code == 2
        and "--mask=a.png is not an option of --task=complete, which has --request.known=0,1" in done.error
    )
