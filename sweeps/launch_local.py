"""Runs on this machine: a few at a time, each a process of `main.py`."""

import time
from collections.abc import Callable, Sequence

from sweeps.attempt import Attempt, BusyError
from sweeps.runs import Run, State, Status, status_of

PAUSE_SECONDS = 0.5  # seconds between checks of the processes


class Local:
    """Starts waiting runs, `parallel` at a time, until nothing is left to do.

    A process that outlived an earlier sweep is waited for, not started again. `again`: start failed runs once more.
    """

    def __init__(self, runs: Sequence[Run], with_eval: bool, parallel: int, again: bool = False):
        self.statuses = {run.name: status_of(run, with_eval) for run in runs}
        self._with_eval, self._parallel = with_eval, parallel
        self._attempts: dict[str, Attempt] = {}
        self._again = {name for name, status in self.statuses.items() if again and status.state is State.FAILED}
        self._stopping = False

    def advance(self, report: Callable[[str], None]) -> bool:
        """Checks every run once and starts as many as allowed; returns whether there is anything left to wait for."""
        for name, attempt in list(self._attempts.items()):
            if self._stopping:
                attempt.stop()
            if (code := attempt.poll()) is not None:
                del self._attempts[name]
                report(f"{name}  {attempt.mode} ended with code {code}")
        for name, status in self.statuses.items():
            if status.state not in (State.FINISHED, State.WRONG):
                self.statuses[name] = status_of(status.run, self._with_eval)
        for status in list(self.statuses.values()):
            if not self._stopping and self._count(State.RUNNING) < self._parallel and self._can_start(status):
                self._start(status, report)
        to_come = self._count(State.RUNNING) + self._count(State.WAITING)
        return bool(self._attempts) or (to_come > 0 and not self._stopping)

    def stop(self) -> None:
        """From the next check on, requests that its processes save and end, and starts no more."""
        self._stopping = True

    def _count(self, state: State) -> int:
        return sum(status.state is state for status in self.statuses.values())

    def _can_start(self, status: Status) -> bool:
        return status.state is State.WAITING or (status.run.name in self._again and status.state is State.FAILED)

    def _start(self, status: Status, report: Callable[[str], None]) -> None:
        assert status.mode is not None  # a waiting run has something to do
        self._again.discard(status.run.name)
        try:
            self._attempts[status.run.name] = Attempt(status.run, status.mode)
            report(f"{status.run.name}  {status.mode} starts")
        except BusyError:
            pass  # another process has just started it: the next check sees that
        self.statuses[status.run.name] = status_of(status.run, self._with_eval)


def run_all(local: Local, show: Callable[[Sequence[Status]], None], report: Callable[[str], None]) -> list[Status]:
    """Runs until nothing is left to do. `show` gets the state of all runs at each check, `report` a line per event."""
    while local.advance(report):
        show(list(local.statuses.values()))
        time.sleep(PAUSE_SECONDS)
    return list(local.statuses.values())
