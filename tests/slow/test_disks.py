"""Training on disks that are full, read-only or taken away: exit code 3, one sentence, and what was done is kept."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from core.errors import ExitCode
from tests.support.paths import ROOT


def command(workdir, data_dir, *more):
    return [
        sys.executable, "main.py", "--config=configs/vp/vectors_mlp_continuous.py", f"--workdir={workdir}",
        "--mode=train", f"--config.data.data_dir={data_dir}", "--config.training.batch_size=16",
        "--config.training.log_freq=5", "--config.training.snapshot_freq_for_preemption=5",
        "--config.training.snapshot_sampling=False", "--config.training.eval_freq=0", "--config.model.nf=16", *more,
    ]  # fmt: skip


def said(done):
    """The last line, of a process that ended in one sentence."""
    assert done.returncode == ExitCode.RUN_ERROR and "Traceback" not in done.stderr, done.stderr[-3000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and last.endswith(".")
    return last


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of `size`; skips the test where none can be made."""
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a file system can only be made by root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_files_that_may_not_grow_end_the_training_in_one_sentence(data_dir, tmp_path):
    """RLIMIT_FSIZE, as `ulimit -f` and quotas set it: checkpoints do not fit."""
    limited = ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh"]  # blocks of 512 bytes
    trained = command(tmp_path / "run", data_dir, "--config.training.n_iters=20", "--compilation_cache=off")
    done = subprocess.run([*limited, *trained], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "cannot be written" in said(done) or "could not be written" in said(done)
    assert not list((tmp_path / "run" / "checkpoints-meta").glob("[0-9]"))


def test_a_full_disk_ends_the_training_and_the_checkpoint_before_is_kept(data_dir, tmp_path):
    with small_disk(tmp_path / "disk", "5m"):
        run = tmp_path / "disk" / "run"
        done = subprocess.run(
            command(run, data_dir, "--config.training.n_iters=100", "--config.training.snapshot_freq=5"),
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "No space left on device" in said(done)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_bytes().splitlines() if line.endswith(b"}")]
        kept = sorted(int(path.name) for path in (run / "checkpoints-meta").iterdir() if path.name.isdecimal())
        assert kept and lines[0]["step"] == 5


def test_a_read_only_disk_is_one_sentence(data_dir, tmp_path):
    with small_disk(tmp_path / "disk", "5m"):
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        done = subprocess.run(
            command(tmp_path / "disk" / "run", data_dir), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert "Read-only file system" in said(done)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_workdir_that_is_taken_away_from_a_trainer_ends_it(data_dir, tmp_path, how):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    log = tmp_path / "log"
    with log.open("w") as file:
        trainer = subprocess.Popen(
            command(run, data_dir, "--config.training.n_iters=10000000"), cwd=ROOT, stdout=file, stderr=file, text=True
        )
    try:
        deadline = time.monotonic() + 300
        while not (run / "metrics.jsonl").exists() and trainer.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.rename(run, elsewhere)
        if how == "replaced":
            run.mkdir()
        assert trainer.wait(timeout=120) == ExitCode.RUN_ERROR, log.read_text()[-3000:]
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    assert f"error: The workdir {run} was removed or replaced" in log.read_text() and "Traceback" not in log.read_text()
    assert not run.exists() or not (run / "finished.json").exists()
    shutil.rmtree(elsewhere)
