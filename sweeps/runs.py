"""A run of a sweep, and its state, derived from its files."""

import dataclasses
import enum
import math
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from configs import default
from core.errors import DamagedFileError, ExitCode
from core.files import append_json_line, is_locked, json_lines, read_json
from reports.kinds import UNFIT, is_number
from reports.records import METRICS, Column, check_report, columns_of, flatten

PROGRAM = pathlib.Path(__file__).parent.parent / "main.py"
# Exit codes of main.py (docs/exit_codes.md); a process that a signal ended counts as 128 + its number, as in a shell.
KILLED = (ExitCode.PEER_GONE, 130, 134, 137, 143)  # by a signal, or another process of the run is gone: it resumes
MAX_KILLS = 5  # in a row without any progress: not an accident, but for example too little memory
_TAIL = 8192  # bytes; a line of metrics has a few hundred


class State(enum.StrEnum):
    """What a run needs: nothing, waiting, a start, or someone who reads why it ended."""

    FINISHED = "finished"
    RUNNING = "running"
    QUEUED = "queued"  # in Slurm
    WAITING = "waiting"  # it can be started
    FAILED = "failed"
    WRONG = "wrong config"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a sweep. arguments: of `main.py`, without mode and workdir. config: all settings by dotted key.

    model: a model that stands alone and is only evaluated; None: the run trains its own.
    """

    root: pathlib.Path
    name: str
    overrides: Mapping[str, Any]
    arguments: tuple[str, ...]
    config: Mapping[str, Any]
    model: str | None = None

    @property
    def directory(self) -> pathlib.Path:
        """The workdir."""
        return self.root / self.name

    @property
    def own(self) -> pathlib.Path:
        """The folder for the sweep's own files: logs, locks, exit codes."""
        return self.directory / "sweep"

    def log(self, mode: str, worker: int = 0) -> pathlib.Path:
        """The output of the processes of a mode."""
        return self.own / f"{_part(mode, worker)}.log"

    def lock(self, mode: str, worker: int = 0) -> pathlib.Path:
        """The file whose lock a process of that mode holds; see `sweeps/attempt.py`."""
        return self.own / f"{_part(mode, worker)}.lock"

    def command(self, mode: str, worker: int = 0, workers: int = 1) -> list[str]:
        """The command that starts or resumes it."""
        shared = [f"--eval_worker={worker}", f"--eval_workers={workers}"] if mode == "eval" else []
        given = [*self.arguments, *([] if self.model is None else [f"--model={self.model}"])]
        return [sys.executable, str(PROGRAM), *given, f"--workdir={self.directory}", f"--mode={mode}", *shared]


def _part(mode: str, worker: int) -> str:
    return f"{mode}_{worker}" if mode == "eval" else mode


@dataclasses.dataclass(frozen=True)
class Status:
    """The state of a run. Numbers are None if they are not known yet."""

    run: Run
    state: State
    mode: str | None  # train or eval: the current or next one; None: done
    code: int | None  # exit code of the last process, if that is why the run does not continue
    step: int
    loss: float | None
    seconds_left: float | None  # of training, at the rate of the last line
    numbers: Mapping[str, float]  # of the newest report, by dotted name
    columns: tuple[Column, ...]  # how they are presented


def status_of(run: Run, with_eval: bool, queued: bool = False) -> Status:
    """The state of a run. `with_eval`: whether it is to be evaluated; `queued`: whether it is in a cluster's queue."""
    line = last_line(run)
    mode = "train" if not _trained(run) else "eval" if with_eval and not _evaluated(run) else None
    code = gave_up(run, mode) if mode else None
    if mode is None:
        state = State.FINISHED
    elif any(is_locked(path) for path in run.own.glob("*.lock")):
        state = State.RUNNING
    elif queued:
        state = State.QUEUED
    elif code is not None:
        state = State.WRONG if code == ExitCode.USER_ERROR else State.FAILED
    else:
        state = State.WAITING
    report = newest_report(run)
    return Status(
        run=run,
        state=state,
        mode=mode,
        code=code if state in (State.FAILED, State.WRONG) else None,
        step=line.get("step", 0),
        loss=line.get("loss"),
        seconds_left=_seconds_left(run, line) if mode == "train" and state is State.RUNNING else None,
        numbers=dict(flatten(report.get("results", {}))),
        columns=columns_of(report),
    )


# Files of main.py ------------------------------------------------------------------------------------------------


def last_line(run: Run) -> dict[str, Any]:
    """The last line of metrics with a training loss; empty if there is none."""
    path = run.directory / "metrics.jsonl"
    if not path.exists():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return next((line for line in reversed(_metrics(file.read())) if "loss" in line), {})


def lines(run: Run) -> list[dict[str, Any]]:
    """All lines of metrics."""
    path = run.directory / METRICS
    return _metrics(path.read_bytes()) if path.exists() else []


def _metrics(text: bytes) -> list[dict[str, Any]]:
    """The complete lines, whose entries are numbers; the first and the last one may be cut off."""
    return [
        line
        for line in json_lines(text)
        if type(line.get("step")) is int and all(is_number(value) for value in line.values())
    ]


def reports(run: Run) -> dict[int, dict[str, Any]]:
    """The reports of its evaluation by checkpoint number, in order."""
    found: dict[int, dict[str, Any]] = {}
    for path in run.directory.glob("eval/ckpt_*/report.json"):
        number = path.parent.name.removeprefix("ckpt_")
        report = _intact(path) if number.isdecimal() else None
        if report is not None and _is_report(report):  # an evaluation writes others again
            found[int(number)] = report
    return dict(sorted(found.items()))


def _is_report(report: Mapping[str, Any]) -> bool:
    try:
        check_report(report)
    except UNFIT:
        return False
    return True


def _intact(path: pathlib.Path) -> dict[str, Any] | None:
    """A JSON file that a run writes again where it is missing or damaged; None then."""
    try:
        return read_json(path)
    except (FileNotFoundError, DamagedFileError):
        return None


def newest_report(run: Run) -> dict[str, Any]:
    """The report of the newest checkpoint that has been evaluated; empty if there is none."""
    return next(reversed(reports(run).values()), {})


def num_snapshots(config: Mapping[str, Any]) -> int:
    """The number of checkpoints that a run keeps, including that of the last step."""
    return math.ceil(config["training.n_iters"] / config["training.snapshot_freq"])


def _trained(run: Run) -> bool:
    if run.model is not None:
        return True
    step = (_intact(run.directory / "finished.json") or {}).get("step")
    return isinstance(step, int) and step >= run.config["training.n_iters"]


def _evaluated(run: Run) -> bool:
    """Whether all checkpoints have a report of these settings, with every task that the config enables.

    A report is written when all tasks of its own config are done.
    """
    found, config = reports(run), run.config
    asked = range(config["eval.begin_ckpt"], config["eval.end_ckpt"] + 1)
    for number in asked if run.model is None else list(found) or asked[:1]:  # such a model has one checkpoint
        if number not in found:
            return False
        try:
            evaluated = default.complete(found[number]["config"])
            changed = default.differences(evaluated, dict(config))
        except (LookupError, TypeError, AttributeError, ValueError):  # a report of other contents
            return False
        if not _tasks(config) <= _tasks(dict(default.flatten(evaluated))):
            return False
        if any(default.changes_evaluation(k) and not default.is_resolved(k, config["data.dataset"]) for k in changed):
            return False
    return True


def _tasks(config: Mapping[str, Any]) -> set[str]:
    """What is evaluated: `eval.tasks`, or those that the system does by itself, and the switches that are on."""
    tasks = {f"eval.tasks {name}" for name in config.get("eval.tasks") or ("by default",)}
    return tasks | {key for key, value in config.items() if key.startswith("eval.enable_") and value}


def _seconds_left(run: Run, line: Mapping[str, Any]) -> float | None:
    if not line.get("images_per_second"):
        return None
    left = run.config["training.n_iters"] - line["step"]
    return left * run.config["training.batch_size"] / line["images_per_second"]


# Files of the sweep -----------------------------------------------------------------------------------------------


def progress(run: Run) -> int:
    """A number that grows with everything that survives a kill: checkpoints and rounds of the evaluation."""
    steps = [int(path.name) for path in run.directory.glob("checkpoints-meta/*") if path.name.isdigit()]
    return max(steps, default=0) + sum(1 for _ in run.directory.glob("eval/*/*/round_*.npz"))


def record(run: Run, mode: str, code: int) -> None:
    """Records that a process has ended."""
    line = {"mode": mode, "code": code, "progress": progress(run), "arguments": run.arguments}
    append_json_line(run.own / "ended.jsonl", line)


def gave_up(run: Run, mode: str) -> int | None:
    """The exit code that keeps this command from being started again, or None. Another command may succeed."""
    path = run.own / "ended.jsonl"
    if not path.exists():
        return None
    ended = [
        line
        for line in json_lines(path.read_bytes())
        if line.get("mode") == mode
        and line.get("arguments") == list(run.arguments)
        and isinstance(line.get("code"), int)
        and isinstance(line.get("progress"), int)
    ]
    if not ended or ended[-1]["code"] in (ExitCode.DONE, ExitCode.STOPPED):
        return None
    if ended[-1]["code"] not in KILLED:
        return ended[-1]["code"]
    last = ended[-MAX_KILLS:]
    stuck = all(e["code"] in KILLED and e["progress"] == last[-1]["progress"] for e in last)
    return ended[-1]["code"] if len(last) == MAX_KILLS and stuck else None


def log_tail(status: Status, num: int = 8) -> list[str]:
    """The last lines of a run's output."""
    logs = sorted(status.run.own.glob(f"{status.mode}*.log"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return []
    with logs[-1].open("rb") as file:
        file.seek(max(0, logs[-1].stat().st_size - _TAIL))
        return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()][-num:]
