"""A sweep on this machine ends alike, however often it or its runs are killed, and then does nothing more."""

import random
import subprocess
import sys
import time

import pytest

from tests.support.configs import QUICK_FLAGS
from tests.support.paths import ROOT
from tests.support.swept import digests, kill_trainer, trainers

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
SWEEP = """
from sweeps.overrides import product, vary
def get_sweep():
    return product(vary("optim.lr", [1e-3, 3e-4]), vary("seed", [0, 1, 2]))
"""


def started(root, sweep, data_dir, *flags):
    """A sweep as a process; what it says is appended to a file beside its root."""
    command = [
        sys.executable, str(ROOT / "sweep.py"), "--config=configs/vp/smoke.py", f"--sweep={sweep}", f"--root={root}",
        "--parallel=2", f"--config.data.data_dir={data_dir}", "--config.training.n_iters=60",
        "--config.training.snapshot_freq=30", *QUICK_FLAGS, *flags,
    ]  # fmt: skip
    with root.with_suffix(".log").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def killed(root, sweep, data_dir, dice, num_trainers=6, num_sweeps=2):
    """Runs a sweep to its end, killing trainers and the sweep itself on the way; the last exit code and the kills."""
    process, hits = started(root, sweep, data_dir), {}
    while process.poll() is None:
        time.sleep(dice.uniform(0.3, 2))
        alive = {name: number for name, number in trainers(root).items() if hits.get(name, 0) < 2}
        if num_trainers and alive:
            name = dice.choice(sorted(alive))
            if kill_trainer(alive[name]):
                hits[name], num_trainers = hits.get(name, 0) + 1, num_trainers - 1
        elif num_sweeps and alive:
            process.kill()
            process.wait()
            process, num_sweeps = started(root, sweep, data_dir), num_sweeps - 1
    return process.wait(), sum(hits.values()), 2 - num_sweeps


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "six.py"
    path.write_text(SWEEP)
    return path


def test_killed_trainers_and_sweeps_end_in_the_same_six_runs_to_the_last_bit(sweep_file, data_dir, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    # Checkpoints on the way are for runs that are killed; both end alike.
    few = "--config.training.snapshot_freq_for_preemption=60"
    assert started(whole, sweep_file, data_dir, few).wait() == 0, whole.with_suffix(".log").read_text()
    code, trainers_killed, sweeps_killed = killed(broken, sweep_file, data_dir, random.Random(0))
    said = broken.with_suffix(".log").read_text()
    assert code == 0, said
    assert trainers_killed >= 3 and sweeps_killed >= 1, said
    expected = digests(whole)
    assert len(expected) == 6 and digests(broken) == expected
    assert len({run["checkpoints/2 params"] for run in expected.values()}) == 6  # the overrides reach the trainer
    again = started(broken, sweep_file, data_dir)
    assert again.wait() == 0
    assert broken.with_suffix(".log").read_text().removeprefix(said).count("starts") == 0
