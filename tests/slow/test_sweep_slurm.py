"""A sweep on a real Slurm of one node (`tests/slurm.sh`), with a kill and a requeue."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from sweeps import plan
from sweeps.runs import State, status_of
from tests.support.configs import QUICK_FLAGS
from tests.support.paths import ROOT
from tests.support.swept import digests, kill_trainer, trainers

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
SWEEP = """
from sweeps.overrides import product, vary
def get_sweep():
    return product(vary("optim.lr", [1e-3, 3e-4]), vary("seed", [0, 1]))
"""
MISSING = [name for name in ("slurmctld", "slurmd", "sbatch", "srun", "munged") if shutil.which(name) is None]
FEW_CHECKPOINTS = "--config.training.snapshot_freq_for_preemption=400"  # for what nobody kills; they end alike
SECONDS = 900  # for all of it; three to five minutes on two free cores


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which Slurm's commands find the cluster."""
    if MISSING or os.geteuid() != 0:
        pytest.skip(f"needs root and Debian's slurm-wlm and munge; not there: {', '.join(MISSING) or 'root'}")
    folder = tmp_path_factory.mktemp("slurm")
    folder.parent.chmod(0o711)
    script = str(ROOT / "tests" / "slurm.sh")
    try:
        subprocess.run([script, "start", str(folder)], check=True)
        yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([script, "stop", str(folder)], check=True)


def swept(root, sweep, data_dir, environment, *flags):
    command = [
        sys.executable, str(ROOT / "sweep.py"), "--config=configs/vp/smoke.py", f"--sweep={sweep}", f"--root={root}",
        "--parallel=2", f"--config.data.data_dir={data_dir}", "--config.training.n_iters=400",
        "--config.training.snapshot_freq=400", "--config.eval.enable_bpd=False", *QUICK_FLAGS, *flags,
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def waited_for(found):
    """What `found()` gives once it is true."""
    deadline = time.monotonic() + SECONDS
    while not (result := found()):
        assert time.monotonic() < deadline, "Slurm did not get that far in time"
        time.sleep(0.2)
    return result


def release(job, environment):
    """Starts a job that was requeued: Slurm would let two minutes pass, the test as much as it needs."""

    def asked(*command):
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout

    waited_for(lambda: "PENDING" in asked("squeue", "--noheader", f"--jobs={job}", "--format=%T"))
    time.sleep(5)  # the node takes no job that it has ended within the same second or so
    asked("scontrol", "update", f"jobid={job}", "StartTime=now")


def in_training(root):
    """The names and process ids of trainers that have saved a checkpoint."""
    saved = {path.parent.parent.name for path in root.glob("*/checkpoints-meta/*") if path.name.isdigit()}
    return [(name, pid) for name, pid in trainers(root).items() if name in saved]


def test_a_sweep_survives_a_kill_and_a_requeue_on_slurm_and_ends_as_on_one_machine(slurm, data_dir, tmp_path):
    sweep, root, local = tmp_path / "four.py", tmp_path / "cluster", tmp_path / "local"
    sweep.write_text(SWEEP)
    flags = ("--launcher=slurm", "--eval", "--eval_workers=2", "--slurm=time=60")
    first = swept(root, sweep, data_dir, slurm, *flags)
    assert first.returncode == 0 and "4 runs submitted" in first.stdout, first.stderr
    again = swept(root, sweep, data_dir, slurm, *flags)
    assert again.returncode == 0 and "0 runs submitted" in again.stdout, again.stderr

    killed = waited_for(lambda: next((name for name, pid in in_training(root) if kill_trainer(pid)), None))
    requeued = waited_for(lambda: [name for name, _ in in_training(root) if name != killed])[0]
    job = json.loads((root / requeued / "sweep" / "slurm.json").read_text())["jobs"][0]
    subprocess.run(["scontrol", "requeue", job], env=slurm, check=True)
    waited_for(lambda: requeued not in trainers(root))
    release(job, slurm)
    runs, with_eval = plan.load(root)
    waited_for(lambda: all(status_of(run, with_eval).state in (State.FINISHED, State.FAILED) for run in runs))

    status = swept(root, sweep, data_dir, slurm, "--status")
    assert status.returncode == 0 and "4 finished" in status.stdout, status.stdout
    assert "resuming from step" in (root / killed / "sweep" / "train.log").read_text()
    assert "stopped by SIGTERM" in (root / requeued / "sweep" / "train.log").read_text()
    assert swept(local, sweep, data_dir, dict(os.environ), FEW_CHECKPOINTS).returncode == 0
    assert digests(root) == digests(local)


def test_the_template_for_several_processes_saves_is_requeued_goes_on_and_can_be_cancelled(slurm, data_dir, tmp_path):
    workdir, log = tmp_path / "run", tmp_path / "job.log"
    command = [
        "sbatch", "--parsable", "--ntasks-per-node=2", f"--output={log}", "docs/clusters/train.sbatch",
        "--config=configs/vp/smoke.py", f"--workdir={workdir}", f"--config.data.data_dir={data_dir}",
        "--config.training.n_iters=5000", "--config.training.snapshot_freq=5000", "--peer_timeout=60", *QUICK_FLAGS,
    ]  # fmt: skip

    def asked(*command):
        done = subprocess.run(
            command, cwd=ROOT, env={**slurm, "PYTHON": sys.executable}, capture_output=True, text=True
        )
        return done.stdout.strip() if done.returncode == 0 else None

    def said(words):
        return log.exists() and words in log.read_text()

    job = asked(*command)
    waited_for(lambda: said("step 20/5000"))
    asked("scancel", "--signal=TERM", job)  # to the processes, as before the time limit
    waited_for(lambda: said("which is saved"))
    assert "2 device(s)" in log.read_text()
    release(job, slurm)
    waited_for(lambda: said("resuming from step"))
    asked("scancel", job)
    waited_for(lambda: asked("squeue", "--noheader", "--format=%i") == "")  # a job that is requeued would be listed
