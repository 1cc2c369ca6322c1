"""What a terminal shows: a bar below the lines of the log, and an answer to a signal at once, as a subprocess."""

import os
import re
import signal
import subprocess
import sys

import pytest

from core.errors import ExitCode
from tests.support.paths import ROOT

SCRIPT = """
import logging, sys, time
from core import progress
progress.REFRESH = 0.02
logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[progress.LogHandler()])
with progress.phase("training", 4, "step") as outer:
    for k in range(4):
        with progress.phase("a name that is much longer than the columns that it is given in a bar"):
            time.sleep(0.15)
        logging.info("line %d %s", k, "x" * 100)
        outer.advance()
print("done", file=sys.stderr)
"""


def in_terminal(script, columns=80):
    """What a script writes to a terminal with this number of columns."""
    reading, writing = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment, stderr=writing) as process:
        os.close(writing)
        written = b""
        while True:
            try:
                part = os.read(reading, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            written += part
    os.close(reading)
    assert process.returncode == 0
    return written.decode()


def test_on_a_terminal_a_bar_stays_below_the_lines_and_is_gone_at_the_end():
    written = in_terminal(SCRIPT)
    bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    frames = [line for line in re.split(r"[\r\n]+", bare) if "steps" in line]
    assert frames and all(len(line) <= 80 for line in frames)
    assert any(re.search(r"━ 2/4 steps, [\d.]+/s, 0:0\d left", line) for line in frames)
    assert "\x1b[?25l" not in written  # a process that is killed would leave the cursor hidden
    # Lines are not broken by us, so that what is copied from them is whole.
    assert [f"line {k} {'x' * 100}" in bare for k in range(4)] == [True] * 4
    assert bare.rstrip().endswith("done")


# The main thread is in a function that no signal interrupts, as it is during a compilation.
BLOCKED = """
import hashlib, os, signal, threading, time
from runtime.signals import StopRequest
stop = StopRequest().install()
def send():
    for _ in range(2):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.5)
        print(stop.signal, flush=True)
threading.Thread(target=send, daemon=True).start()
hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 10**9)
"""


@pytest.mark.parametrize(("name", "again", "code"), [("SIGINT", "press again", 130), ("SIGTERM", "send it again", 143)])
def test_a_signal_is_acknowledged_during_a_compilation_and_a_second_one_ends_it(name, again, code):
    command = [sys.executable, "-c", BLOCKED.format(name=name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == f"{name}\n" and done.returncode == code
    assert done.stderr.splitlines() == [
        f"{name}: finishing the current step; {again} to quit now",
        f"stopped by {name}: checkpoints are kept; start the same command again.",
    ]


def test_an_interrupt_while_python_imports_leaves_no_traceback(tmp_path):
    (tmp_path / "jax.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "main.py", "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGINT and done.stderr == ""


def test_a_python_without_our_packages_is_one_sentence():
    """-S leaves out the folder of installed packages."""
    for script in ("main.py", "sweep.py"):
        done = subprocess.run([sys.executable, "-S", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == ExitCode.USER_ERROR and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"error: {sys.executable} does not have ") and ".venv/bin/python" in done.stderr


OLD = """#!/bin/sh
if [ "$1" = --version ]; then echo "Python 3.10.4"; exit; fi
exit 1
"""
WITHOUT_VENV = """#!/bin/sh
if [ "$1" = --version ]; then echo "Python 3.12.4"; exit; fi
if [ "$1" = -c ]; then exit 0; fi
mkdir .venv; exit 1
"""
WITHOUT_NETWORK = """#!/bin/sh
if [ "$1" = --version ]; then echo "Python 3.12.4"; exit; fi
if [ "$1" = -c ]; then exit 0; fi
mkdir -p .venv/bin; printf '#!/bin/sh\\nexit 1\\n' > .venv/bin/pip; chmod +x .venv/bin/pip
"""


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        (OLD, "is Python 3.10.4, but Python 3.11 or newer is needed; give one, as in: make setup PYTHON=python3.12"),
        (WITHOUT_VENV, "cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"),
        (WITHOUT_NETWORK, "pip could not install requirements.txt; its reason is above"),
    ],
    ids=("an old Python", "without venv", "without a network"),
)
def test_a_setup_that_fails_says_why_and_leaves_no_environment(tmp_path, python, sentence):
    for name in ("Makefile", "requirements.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "python").write_text(python)
    (tmp_path / "python").chmod(0o755)
    done = subprocess.run(
        ["make", "setup", "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and errors[0].endswith(sentence)
    assert not (tmp_path / ".venv").exists()


def test_what_says_how_much_is_installed_ends_with_the_installation(tmp_path):
    """Also where pip fails at once, while the shell that says it is just being forked: one in fourteen went on."""
    for name in ("Makefile", "requirements.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "python").write_text(WITHOUT_NETWORK)
    (tmp_path / "python").chmod(0o755)
    for _ in range(40):
        with subprocess.Popen(
            ["make", "setup", "PYTHON=./python"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert process.returncode == 2
