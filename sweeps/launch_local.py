"""Runs on this machine: some at a time, each a process of `main.py`."""

import time
from collections.abc import Callable, Sequence

from sweeps.attempt import Attempt, BusyError
from sweeps.runs import Run, State, Status, status_of

_PAUSE = 0.5  # seconds between looks at the processes


class Local:
    """Starts what can be started, `parallel` at a time, until nothing is left to do.

    A process that an earlier sweep left behind is waited for, not started again. `again`: also start those that have
    failed, once more.
    """

    def __init__(self, runs: Sequence[Run], with_eval: bool, parallel: int, again: bool = False):
        self.statuses = {run.name: status_of(run, with_eval) for run in runs}
        self._with_eval, self._parallel = with_eval, parallel
        self._attempts: dict[str, Attempt] = {}
        self._again = {name for name, status in self.statuses.items() if again and status.state is State.FAILED}
        self._stopping = False

    def advance(self, tell: Callable[[str], None]) -> bool:
        """Looks once at every run and starts what there is room for; whether anything is still to be waited for."""
        for name, attempt in list(self._attempts.items()):
            if self._stopping:
                attempt.stop()
            if (code := attempt.poll()) is not None:
                del self._attempts[name]
                tell(f"{name}  {attempt.mode} ended with code {code}")
        for name, status in self.statuses.items():
            if status.state not in (State.FINISHED, State.WRONG):
                self.statuses[name] = status_of(status.run, self._with_eval)
        for status in list(self.statuses.values()):
            if not self._stopping and self._count(State.RUNNING) < self._parallel and self._can_start(status):
                self._start(status, tell)
        to_come = self._count(State.RUNNING) + self._count(State.WAITING)
        return bool(self._attempts) or (to_come > 0 and not self._stopping)

    def stop(self) -> None:
        """From the next look on: asks its processes to save and to end, and starts no more."""
        self._stopping = True

    def _count(self, state: State) -> int:
        return sum(status.state is state for status in self.statuses.values())

    def _can_start(self, status: Status) -> bool:
        return status.state is State.WAITING or (status.run.name in self._again and status.state is State.FAILED)

    def _start(self, status: Status, tell: Callable[[str], None]) -> None:
        assert status.mode is not None  # what is waiting has something to do
        self._again.discard(status.run.name)
        try:
            self._attempts[status.run.name] = Attempt(status.run, status.mode)
            tell(f"{status.run.name}  {status.mode} starts")
        except BusyError:
            pass  # begun by another in this moment: the next look sees it
        self.statuses[status.run.name] = status_of(status.run, self._with_eval)


def run_all(local: Local, show: Callable[[Sequence[Status]], None], tell: Callable[[str], None]) -> list[Status]:
    """Runs until nothing is left to do. `show` is called with the state of all runs, `tell` with what happens."""
    while local.advance(tell):
        show(list(local.statuses.values()))
        time.sleep(_PAUSE)
    return list(local.statuses.values())
