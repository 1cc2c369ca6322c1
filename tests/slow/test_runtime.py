"""What a process does before JAX starts: how its CPU is split, and how it allocates memory."""

import json
import os
import pathlib
import platform
import resource
import subprocess
import sys

import pytest

from runtime import malloc
from tests.support.paths import ROOT


def test_a_cpu_counts_as_the_requested_number_of_devices():
    program = "import jax; from runtime import devices; devices.set_num_cpu_devices(3); print(jax.device_count())"
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n"


LARGE_BLOCK = """
import json
import os
import resource
import time
from core import memory
from runtime import malloc
malloc.configure()
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt, memory.resident_bytes()
def faults():
    before = used()[0]
    block = b"x" * 2**28
    return used()[0] - before
resident = used()[1]
found = {"first": faults(), "second": faults(), "kept": used()[1] - resident}
time.sleep(0.3)
small = b"x" * 2**20
del small
found["left"] = used()[1] - resident
faults()
malloc.release_memory()
found["released"] = used()[1] - resident
print(json.dumps({**found, "process": os.getpid(), "preloaded": os.environ.get("LD_PRELOAD", "")}))
"""
PAGES = 2**28 // resource.getpagesize()


def run_large_block(**environment):
    process = subprocess.Popen(
        [sys.executable, "-c", LARGE_BLOCK],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    found = json.loads(process.communicate()[0])
    assert process.returncode == 0 and found["process"] == process.pid
    return found


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize("preloaded", ["", "libm.so.6"])
def test_a_freed_block_is_used_again_at_once_and_goes_back_when_it_is_not(preloaded):
    found = run_large_block(LD_PRELOAD=preloaded)
    library, *others = found["preloaded"].split(":")
    assert "libmimalloc.so" in library and others == [preloaded] * bool(preloaded)
    assert found["second"] < PAGES / 1000 and found["kept"] == pytest.approx(2**28, rel=0.05)
    assert found["left"] < 2**22 and found["released"] < 2**22


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_another_allocator_stays_where_it_was_chosen():
    found = run_large_block(LD_PRELOAD="libtcmalloc_missing.so")
    assert found["preloaded"] == "libtcmalloc_missing.so" and found["second"] >= PAGES / 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_library_whose_path_cannot_be_preloaded_is_not(monkeypatch):
    monkeypatch.setattr(malloc.importlib.metadata, "files", lambda package: [InFolder("/a folder/libmimalloc.so")])
    monkeypatch.setattr(malloc.os.path, "exists", lambda path: True)
    monkeypatch.setattr(malloc.os, "execv", lambda *command: pytest.fail("started again"))
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    malloc.configure()


class InFolder(pathlib.PurePosixPath):
    def locate(self):
        return self
