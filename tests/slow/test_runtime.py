"""What a process does before JAX starts: how its CPU is split, and how it allocates memory."""

import json
import os
import pathlib
import platform
import subprocess
import sys

import pytest

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
from core import memory
from runtime import malloc
malloc.configure()
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt, memory.resident_bytes()
faults, resident = used()
block = b"x" * 2**28
faults_after, resident_after = used()
del block
found = {"faults": faults_after - faults, "held": resident_after - resident, "left": used()[1] - resident}
print(json.dumps({**found, "process": os.getpid(), "tunables": os.environ["GLIBC_TUNABLES"]}))
"""
THP = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's")
@pytest.mark.parametrize("tunables", ["", "glibc.malloc.perturb=7", "glibc.malloc.hugetlb=1"])
def test_a_large_block_is_of_huge_pages_and_goes_back_when_it_is_freed(tunables):
    environment = {**os.environ, "GLIBC_TUNABLES": tunables}
    process = subprocess.Popen(
        [sys.executable, "-c", LARGE_BLOCK], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    found = json.loads(process.communicate()[0])
    assert process.returncode == 0 and found["process"] == process.pid
    assert found["tunables"] == ":".join(dict.fromkeys(filter(None, (tunables, "glibc.malloc.hugetlb=1"))))
    assert found["held"] == pytest.approx(2**28, rel=0.05) and abs(found["left"]) < 2**22
    if THP.is_file() and "[never]" not in THP.read_text():
        assert found["faults"] < 2**28 // 2**12 / 8  # 65,536 ordinary pages
