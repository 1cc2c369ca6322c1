"""The state of the runs of a sweep, for the console."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from reports.records import merged, numbers_for
from sweeps.runs import State, Status, log_tail

STYLES = {
    State.FINISHED: "green",
    State.RUNNING: "bold cyan",
    State.QUEUED: "cyan",
    State.WAITING: "dim",
    State.FAILED: "bold red",
    State.WRONG: "bold red",
}


def table(statuses: Sequence[Status]) -> Table:
    """A row for each run: its state, its training loss, and every column of its newest report."""
    columns = merged(status.columns for status in statuses)
    shown = Table(box=None, header_style="bold", pad_edge=False, caption=summary(statuses), caption_justify="left")
    shown.add_column("run", overflow="fold")
    shown.add_column("state")
    for name in ("step", "loss", *(column.heading for column in columns), "ETA"):
        shown.add_column(name, justify="right", no_wrap=True)
    for status in statuses:
        state = f"{status.state} ({status.code})" if status.code is not None else str(status.state)
        shown.add_row(
            escape(status.run.name),
            Text(f"{state}, {status.mode}" if status.state is State.RUNNING else state, STYLES[status.state]),
            f"{status.step}/{status.run.config['training.n_iters']}",
            number(status.loss),
            *(number(numbers_for(c, status.numbers, status.columns).get(c.path)) for c in columns),
            duration(status.seconds_left),
        )
    return shown


def failures(statuses: Sequence[Status]) -> Group:
    """The ends of the logs of failed runs."""
    parts = []
    for status in statuses:
        if status.state in (State.FAILED, State.WRONG):
            log = status.run.log(status.mode or "train")
            parts.append(Text(f"{status.run.name}: {status.mode} ended with code {status.code}; {log}", "bold red"))
            parts += [Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in log_tail(status)]
    return Group(*parts)


def summary(statuses: Sequence[Status]) -> str:
    """How many runs are in each state: `4 finished, 2 running`."""
    count = Counter(status.state for status in statuses)
    return ", ".join(f"{count[state]} {state}" for state in State if count[state])


def number(value: float | None, digits: int = 4) -> str:
    """Four significant digits; empty if unknown."""
    return "" if value is None else f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds; empty if unknown."""
    if seconds is None:
        return ""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{left:02d}"
