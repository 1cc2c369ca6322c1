"""What the programs say where the disk is full or read-only: one sentence, exit code 3, and nothing half-written."""

import errno
import os
import shutil

import numpy as np
import pytest

from core.errors import ExitCode
from tests.support.runs import tiny, untrained

CONFIG = ("--config=configs/vp/smoke.py", "--config.eval.features=pixels", "--config.eval.metrics=('kid',)")
COMMANDS = {
    "sample": ("--num_samples=2", "--output=DIR/out"),
    "export": ("--checkpoint=DIR/out/parameters.npz",),
    "stats": (*CONFIG, "--stats=DIR/out/stats.npz"),
    "metrics": (*CONFIG, "--samples=DIR/samples.npz", "--output=DIR/out"),
    "inspect": CONFIG,
    "eval": ("--config.eval.enable_bpd=False", "--config.eval.enable_sampling=False", "--config.eval.end_ckpt=1"),
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with a checkpoint of random parameters, and samples of its digits."""
    folder = tmp_path_factory.mktemp("disks")
    untrained(tiny(), folder / "run")
    np.savez(folder / "samples.npz", np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8))
    return folder


def words(mode, folder):
    return [f"--mode={mode}", f"--workdir={folder / 'run'}"] + [w.replace("DIR", str(folder)) for w in COMMANDS[mode]]


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("number", ["ENOSPC", "EROFS"])
@pytest.mark.parametrize("mode", COMMANDS)
def test_a_disk_that_cannot_be_written_is_one_sentence(workdir, tmp_path, monkeypatch, command_line, mode, number):
    folder = tmp_path / "copy"
    shutil.copytree(workdir, folder)
    before = files(folder)
    sync = os.fsync

    def refuse(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(folder)):
            raise OSError(getattr(errno, number), "as the system says")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    done = command_line(*words(mode, folder))
    last = done.error.splitlines()[-1]
    assert done.code == ExitCode.RUN_ERROR, done.error
    assert last.startswith(f"error: {folder}") and f"({os.strerror(getattr(errno, number))})" in last
    assert last.endswith("run the same command again.") and "Traceback" not in done.error
    assert [path for path in files(folder) if path.suffix != ".lock"] == before


@pytest.mark.parametrize("mode", ["sample", "export", "stats", "metrics"])
def test_a_file_where_a_folder_is_expected_is_one_sentence(workdir, tmp_path, command_line, mode):
    folder = tmp_path / "copy"
    shutil.copytree(workdir, folder)
    (folder / "out").write_text("mine")
    done = command_line(*words(mode, folder))
    assert done.code in (ExitCode.USER_ERROR, ExitCode.RUN_ERROR), done.error
    assert done.error.splitlines()[-1].startswith("error: ") and "Traceback" not in done.error
    assert (folder / "out").read_text() == "mine"


@pytest.mark.parametrize("name", ["checkpoints-meta", "checkpoints", "metrics.jsonl", "tensorboard", "train.lock", "."])
def test_a_workdir_with_paths_of_another_kind_is_one_sentence(tmp_path, command_line, name):
    path = tmp_path / "run" / name
    if name in ("metrics.jsonl", "train.lock"):
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(exist_ok=True)
        shutil.rmtree(path) if path.is_dir() else None
        path.write_text("mine")
    done = command_line(
        *CONFIG[:1], "--mode=train", f"--workdir={tmp_path / 'run'}", "--config.model.name=perceptron",
        "--config.training.snapshot_sampling=False", "--config.training.eval_freq=0",
    )  # fmt: skip
    assert done.code == ExitCode.RUN_ERROR, done.error
    assert done.error.splitlines()[-1].startswith("error: ") and "Traceback" not in done.error
    assert path.is_dir() or path.read_text() == "mine"
