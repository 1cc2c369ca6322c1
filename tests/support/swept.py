"""What a sweep has left, and which of its trainers are at work."""

from benchmarks import kill
from core.files import is_locked
from sweeps import plan


def digests(root):
    """SHA-256 of everything that each run has left, as `benchmarks/kill.py` takes it."""
    runs, _ = plan.load(root)
    return {run.name: kill.digest(run.directory, plan.configured(run.arguments)) for run in runs}


def trainers(root):
    """The process ids of the trainers at work, by the names of their runs; the lock says who is alive."""
    locks = [path for path in root.glob("*/sweep/train.lock") if is_locked(path)]
    found = {path.parent.parent.name: path.read_text().strip() for path in locks}
    return {name: int(number) for name, number in found.items() if number}
