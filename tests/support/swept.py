"""Sweeps without training: runs with made-up files. Of real ones: what they have left, and their trainers at work."""

import os
import signal

from benchmarks import kill
from configs import default
from core.files import is_locked, write_json
from reports.records import Column
from sweeps import plan
from tests.support.paths import ROOT

CONFIG = str(ROOT / "configs" / "vp" / "smoke.py")


def planned(root, sweep, *given):
    """The runs of a sweep of the smoke config."""
    return plan.plan(CONFIG, given, sweep, root)


def trained(run, step=10):
    """Writes what training leaves, up to the last step."""
    (run.directory / "metrics.jsonl").write_text(
        '{"step": 5, "loss": 0.9, "images_per_second": 8.0}\n{"step": 5, "test_loss": 0.8}\n'
        '{"step": 10, "loss": 0.5, "images_per_second": 16.0}\n{"step": 10, "test_loss": 0.4}\n{"step": 1'
    )
    write_json(run.directory / "finished.json", {"step": step})


def evaluated(run, number=1, **results):
    """Writes the report of a checkpoint, with the columns bits/dim and FID."""
    folder = run.directory / "eval" / f"ckpt_{number}"
    folder.mkdir(parents=True)
    config = default.to_json(plan.configured(run.arguments))
    asked = {"loss": {"mean": 0.4}, "bits_per_dim": {"mean": 2.5}, "samples": {}}
    columns = [
        Column("bits_per_dim.mean", "bits/dim", "lower", error="bits_per_dim.standard_error", rank=2),
        Column("metrics.samples.fid.value", "FID", "lower", rank=3),
    ]
    entries = [column.to_dict() for column in columns]
    write_json(folder / "report.json", {"results": asked | results, "columns": entries, "config": config})


def finished_sweep(folder):
    """The file and the root of a sweep of two runs, both finished."""
    path, root = folder / "two.py", folder / "root"
    path.write_text("def get_sweep(): return [{'seed': 1}, {'optim.lr': 0.5}]")
    for run in planned(root, plan.read_sweep(path)):
        run.own.mkdir(parents=True)
        trained(run)
        evaluated(run, bits_per_dim={"mean": 3.0 - run.config["seed"] / 100, "standard_error": 0.1})
    return path, root


def digests(root):
    """SHA-256 of everything that each run has left, as `benchmarks/kill.py` takes it."""
    runs, _ = plan.load(root)
    return {run.name: kill.digest(run.directory, plan.configured(run.arguments)) for run in runs}


def trainers(root):
    """The process ids of the trainers at work, by the names of their runs; the lock says who is alive."""
    locks = [path for path in root.glob("*/sweep/train.lock") if is_locked(path)]
    found = {path.parent.parent.name: path.read_text().strip() for path in locks}
    return {name: int(number) for name, number in found.items() if number}


def kill_trainer(number):
    """Kills a process; whether it was still there."""
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:  # it has ended since its lock was read
        return False
    return True
