"""Runs `main.py` with its command line in processes forked from one that has imported it: hundreds in minutes."""

import contextlib
import os
import pathlib
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

KIB = 2**10
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
NOTED = b"audited: "  # what a line of the log begins with that says which program was started


class Done(NamedTuple):
    """How a program ended.

    code: None where it took too long. error: its output. seconds, cpu_seconds, peak_bytes: what it took; of the
    memory, with what was inherited. started: the programs that it started.
    """

    code: int | None
    error: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    started: tuple[str, ...]


def prepare() -> None:
    """Imports the program, before any fork, and h5py, which TFDS imports if it is there, and which starts `uname`."""
    import main  # noqa: F401

    with contextlib.suppress(ImportError):
        import h5py  # noqa: F401


def apart(function: Callable[[], object]) -> None:
    """Calls a function in a process of its own, which takes its memory with it. Errors: RuntimeError where it fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("what was called in a process of its own failed")


def run(words: Sequence[str], log: pathlib.Path, seconds: float) -> Done:
    """Runs `main.py` with a command line, which begins with its name; `seconds` is the time that it may take."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forks, where JAX has threads; it has none before its first use
        child = os.fork()
    if child == 0:
        _become(list(words), log)
    start = time.monotonic()
    is_late = False
    while (found := os.wait4(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > start + seconds and not is_late:
            is_late = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.01)
    taken = time.monotonic() - start
    lines = log.read_bytes().split(b"\n") if log.exists() else []
    started = tuple(line.removeprefix(NOTED).decode() for line in lines if line.startswith(NOTED))
    error = b"\n".join(line for line in lines if not line.startswith(NOTED)).decode(errors="replace")
    code = None if is_late else os.waitstatus_to_exitcode(found[1])
    used = found[2]
    return Done(code, error, taken, used.ru_utime + used.ru_stime, used.ru_maxrss * KIB, started)


def _become(words: list[str], log: pathlib.Path) -> None:
    """Runs the program in this process, and ends it."""
    os.setpgid(0, 0)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.addaudithook(_note(descriptor))
    sys.argv = words
    try:
        import main

        main.app.run(main.launch, argv=words, flags_parser=main.parse)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    if resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt:
        os.write(descriptor, NOTED + b"a process\n")
    os._exit(code)


def _note(descriptor: int) -> Any:
    """Writes down which programs are started."""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS:
            name = os.path.basename(os.fsdecode(arguments[0])) if arguments else ""
            os.write(descriptor, NOTED + f"{event} {name}".encode() + b"\n")

    return audit
