"""Changed files of every format, for half a minute; `benchmarks/fuzz.py` has the harness, and runs ten by default."""

import json
import subprocess
import sys

from benchmarks.fuzz_formats import FORMATS
from tests.support.paths import ROOT

NAMED = {
    "msgpack", "pth", "pth_legacy", "npz", "npy", "safetensors", "cifar", "tfrecord", "zip", "tar", "png", "jpeg",
    "webp", "workdir", "orbax",
}  # fmt: skip


def test_every_changed_file_is_read_or_refused_as_documented(tmp_path):
    assert FORMATS.keys() >= NAMED
    command = [sys.executable, "-m", "benchmarks.fuzz", "--minutes=0.3", f"--folder={tmp_path}", "--seed=1"]
    command += ["--seconds=30"]  # in place of ten, for a busy machine
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *formats, total = (json.loads(line) for line in done.stdout.splitlines())
    assert {form["format"] for form in formats} == {name for name, form in FORMATS.items() if form.is_available()}
    assert all(form["executions"] == form["read"] + form["refused"] > 0 for form in formats)
    assert total["findings"] == 0


def test_a_fault_is_a_finding(tmp_path):
    """A reader that fails, hangs, takes memory, starts a program, or dies is reported, with its file."""
    (tmp_path / "readers.py").write_text(FAULTY)
    others = ["error", "sentence", "memory", "crash", "program"]
    # What hangs is waited for one second; on a busy machine, allocating may take ten.
    for number, (names, seconds) in enumerate(((["time"], 1), (others, 30))):
        command = [sys.executable, str(tmp_path / "readers.py"), f"--folder={tmp_path / str(number)}", "--minutes=0.1"]
        command += [f"--formats={','.join(names)}", f"--seconds={seconds}"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)}
        )
        *formats, _ = (json.loads(line) for line in done.stdout.splitlines())
        kinds = {form["format"]: {finding["kind"] for finding in form["findings"]} for form in formats}
        assert done.returncode == 1 and kinds == {name: {name} for name in names}, done.stdout + done.stderr


FAULTY = '''
import os
import subprocess
import sys
import time

from benchmarks import fuzz, fuzz_formats
from benchmarks.fuzz_formats import Format

KEPT = []


def fault(act):
    """A reader that reads the valid file and fails with every other one."""
    def read(folder):
        if folder.name != "valid":
            act(folder)
    return Format(lambda _: [{"a.txt": b"some"}], read)


def failing(folder):
    raise KeyError("a")


def nameless(folder):
    raise ValueError("it is wrong")


fuzz_formats.FORMATS = {
    "error": fault(failing),
    "sentence": fault(nameless),
    "memory": fault(lambda folder: b"x" * 260 * 2**20),
    "time": fault(lambda folder: time.sleep(60)),
    "crash": fault(lambda folder: os.abort()),
    "program": fault(lambda folder: subprocess.run(["true"], check=True)),
}
sys.exit(fuzz.main())
'''
