"""Fuzzes the readers: changes small valid files of every format, and reads what is left of them.

    python -m benchmarks.fuzz --minutes=10 [--seed=0] [--formats=png,npz] [--folder=DIR]

Each format is read in a process of its own, forked from this one, with a limit of its memory; if it dies, in another. A
reader may read the file, or refuse it by an error that it documents, in one sentence that names the file. Everything
else is a finding:

    error     another exception
    sentence  an error of several lines, or one that does not name the file
    memory    more than 256 MiB beyond what was in use
    time      more than 10 seconds (--seconds); the process is then killed
    crash     the process died
    program   something was started, connected to, or imported from a pickle

Prints a JSON line for each format and one for all: executions, files that were read and refused, and the findings, each
once, with the folder that has its file. The exit code is 1 if there are findings.
"""

import argparse
import json
import logging
import os
import pathlib
import random
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

ROOT = pathlib.Path(__file__).parent.parent
MEMORY = 2**28  # bytes that one file may take
ADDRESSES = 2**32  # bytes beyond those in use at which allocations fail
SECONDS = 10.0
STARTING = 300.0  # seconds until the first file is read
MOST = 30  # findings of a format, after which the next one begins
WATCHED = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn",
    "socket.connect", "pickle.find_class", "webbrowser.open",
)  # fmt: skip


# The process that reads -------------------------------------------------------------------------------------------


def peak() -> int:
    """The largest resident size since `reset_peak`, in bytes."""
    text = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


def reset_peak() -> None:
    """Begins to measure the peak anew."""
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def problem(error: BaseException, place: pathlib.Path) -> tuple[str, str] | None:
    """(kind, what) of the finding that an exception is; None for a documented error in one sentence."""
    from benchmarks.fuzz_formats import is_documented

    if not is_documented(error):
        frames = traceback.extract_tb(error.__traceback__)
        ours = [
            f for f in frames if pathlib.Path(f.filename).is_relative_to(ROOT) and ".venv" not in f.filename
        ] or frames
        where = f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return "error", f"{type(error).__name__} at {where}: {str(error)[:200]}"
    text = str(error)
    if "\n" in text or len(text) > 2000 or str(place) not in text:
        return "sentence", f"{type(error).__name__}: {text[:300]}"
    return None


def work(name: str, folder: pathlib.Path, seed: int, first: int, seconds: float) -> None:
    """Reads changed files of a format until the time is over; says what happens in JSON lines."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    from benchmarks.fuzz_changes import changed
    from benchmarks.fuzz_formats import FORMATS

    form = FORMATS[name]
    cases = form.cases(folder / "valid")
    started: list[str] = []
    for case in cases:  # they are valid, and what is imported and compiled for them is not that of a changed file
        place = written(folder / "valid", case)
        form.read(place)
    sys.addaudithook(lambda event, args: started.append(f"{event} {args!r}"[:200]) if event in WATCHED else None)
    used = int(pathlib.Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, used + ADDRESSES))
    end, number, counts = time.monotonic() + seconds, first, {"read": 0, "refused": 0}
    while time.monotonic() < end:
        rng = random.Random(f"{seed} {name} {number}")
        case = dict(rng.choice(cases))
        path = rng.choice(sorted(case))
        case[path] = changed(rng, path, case[path])
        place = written(folder / str(number), case)
        say(number=number)
        reset_peak()
        before, start, found = peak(), time.monotonic(), None
        try:
            form.read(place)
            counts["read"] += 1
        except BaseException as error:  # whatever it is, it is to be told
            found = problem(error, folder / str(number))
            counts["refused"] += 1
        taken, grown = time.monotonic() - start, peak() - before
        if started:
            found = "program", started.pop()
        elif grown > MEMORY:
            found = "memory", f"{grown >> 20} MiB for {path} of {len(case[path])} bytes"
        say(done=number, seconds=round(taken, 3), grown=grown, finding=found, file=path, **counts)
        if found is None:
            shutil.rmtree(folder / str(number))
        number += 1


def written(place: pathlib.Path, case: dict[str, bytes]) -> pathlib.Path:
    """Writes the files of a case."""
    for path, content in case.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    return place


def say(**content: Any) -> None:
    """A line for the process that started this one."""
    print(json.dumps(content), flush=True)


# The process that watches -----------------------------------------------------------------------------------------


class Watch:
    """One format: starts what reads it, again where that dies, and collects what it says."""

    def __init__(self, name: str, folder: pathlib.Path, seed: int, seconds: float):
        self.name, self.folder, self.seed, self.seconds = name, folder, seed, seconds
        self.findings: dict[str, dict[str, Any]] = {}
        self.totals = {"read": 0, "refused": 0}
        self.executions, self.slowest, self.largest = 0, 0.0, 0

    def run(self, minutes: float) -> dict[str, Any]:
        """Reads for so long; what there is to say of the format."""
        end, number = time.monotonic() + 60 * minutes, 0
        while number == 0 or (time.monotonic() < end and len(self.findings) < MOST):
            number = self._until_it_dies(number, max(1.0, end - time.monotonic()))
            if number < 0:
                break
        return {
            "format": self.name, "executions": self.executions, **self.totals,
            "slowest_seconds": round(self.slowest, 2), "largest_MiB": self.largest >> 20,
            "findings": list(self.findings.values()),
        }  # fmt: skip

    def _until_it_dies(self, first: int, seconds: float) -> int:
        """The number with which to go on; -1 where the time is over."""
        readable, writable = os.pipe()
        errors = self.folder / "errors.txt"
        pid = os.fork()
        if not pid:
            os.close(readable)
            _end(self.name, self.folder, self.seed, first, seconds, writable, errors)
        os.close(writable)
        number, counts = self._listen(pid, readable, first)
        os.close(readable)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for kind, count in counts.items():
            self.totals[kind] += count
        if code == 0:
            return -1
        if number is None:
            self._note("error", f"the valid files: {errors.read_text(errors='replace')[-500:]}", first, "")
            return -1
        self.executions += 1
        self._note("time" if code == -signal.SIGKILL else "crash", f"the process ended with {code}", number, "")
        return number + 1

    def _listen(self, pid: int, readable: int, first: int) -> tuple[int | None, dict[str, int]]:
        """Follows a process to its end, and kills it where one file takes too long; the file that it was reading."""
        number, counts, patience = None, {"read": 0, "refused": 0}, [STARTING]
        for line in _lines(pid, readable, patience):
            said = json.loads(line)
            if "number" in said:
                number, patience[0] = said["number"], self.seconds
                continue
            counts, number = {kind: said[kind] for kind in counts}, None
            self.executions += 1
            self.slowest, self.largest = max(self.slowest, said["seconds"]), max(self.largest, said["grown"])
            if said["finding"]:
                kind, what = said["finding"]
                self._note(kind, what, said["done"], said["file"])
        return number, counts

    def _note(self, kind: str, what: str, number: int, file: str) -> None:
        """A finding, once for what looks alike."""
        key = f"{kind} {what.replace(str(self.folder / str(number)), '')[:60]}"
        case = {"kind": kind, "what": what, "file": str(self.folder / str(number) / file), "times": 0}
        self.findings.setdefault(key, case)["times"] += 1


def _end(
    name: str, folder: pathlib.Path, seed: int, first: int, seconds: float, writable: int, errors: pathlib.Path
) -> NoReturn:
    """Works in the process that was forked, and ends it."""
    code = 1
    try:
        os.dup2(writable, 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
        work(name, folder, seed, first, seconds)
        code = 0
    except BaseException:  # whatever it is, it ends here
        traceback.print_exc()
    finally:
        os._exit(code)


def _lines(pid: int, readable: int, patience: list[float]) -> Iterator[bytes]:
    """What a process says, line by line; it is killed where it says nothing for `patience[0]` seconds."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(readable, selectors.EVENT_READ)
        while True:
            if not selector.select(patience[0]):
                os.kill(pid, signal.SIGKILL)
                return
            if not (read := os.read(readable, 2**16)):
                return
            *lines, rest = (rest + read).split(b"\n")
            yield from lines


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all formats")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", help="names, separated by commas; all by default")
    parser.add_argument("--folder", help="where files of findings stay; a temporary one by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that one file may take")
    given = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    warnings.simplefilter("ignore")  # Python's about forks
    from benchmarks import fuzz_checkpoints  # noqa: F401  before processes are forked, but nothing that has threads
    from benchmarks.fuzz_formats import FORMATS

    names = given.formats.split(",") if given.formats else [n for n, form in FORMATS.items() if form.is_available()]
    folder = pathlib.Path(given.folder or tempfile.mkdtemp(prefix="fuzz_")).absolute()
    total, findings = 0, 0
    for name in names:
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        found = Watch(name, place, given.seed, given.seconds).run(given.minutes / len(names))
        print(json.dumps(found), flush=True)
        total, findings = total + found["executions"], findings + len(found["findings"])
    print(json.dumps({"formats": len(names), "executions": total, "findings": findings, "seed": given.seed}))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
