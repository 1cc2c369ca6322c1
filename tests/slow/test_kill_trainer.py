"""A trainer that is killed while an evaluation waits for its next checkpoint."""

import signal
import subprocess
import sys
import time

from core.errors import ExitCode
from tests.support.configs import QUICK_FLAGS
from tests.support.paths import ROOT


def test_a_worker_ends_with_a_reason_and_a_code_of_its_own_where_the_trainer_dies(data_dir, tmp_path):
    """The trainer is killed after its first checkpoint; the second never comes."""
    command = [sys.executable, "main.py", "--config=configs/vp/smoke.py", f"--workdir={tmp_path / 'run'}", *QUICK_FLAGS]
    command += [f"--config.data.data_dir={data_dir}", "--config.training.snapshot_sampling=False"]
    long = ["--mode=train", "--config.training.n_iters=100000", "--config.training.snapshot_freq_for_preemption=10000"]
    trainer = subprocess.Popen([*command, *long], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "run" / "checkpoints" / "1").exists():
            assert trainer.poll() is None
            time.sleep(0.05)
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    newest = max(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit())
    asked = [
        f"--config.eval.begin_ckpt={newest}",
        f"--config.eval.end_ckpt={newest + 1}",
        "--config.eval.wait_seconds=3",
        "--config.eval.enable_sampling=False",
        "--config.eval.enable_bpd=False",
    ]
    ended = subprocess.run([*command, "--mode=eval", *asked], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == ExitCode.NO_CHECKPOINT == 4
    last = ended.stderr.strip().splitlines()[-1]
    assert (
        last.startswith(f"error: Checkpoint {newest + 1} is not in ") and "waited 3 s; the trainer's last line" in last
    )
    assert (tmp_path / "run" / "eval" / f"ckpt_{newest}" / "report.json").exists()
