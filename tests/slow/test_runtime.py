"""What a process does before JAX starts: how its CPU is split, and how it allocates memory."""

import os
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


FAULTS = """
import resource
import sys
from runtime import malloc
if sys.argv[1] == "keep":
    assert malloc.keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26  # 16,384 pages, written and freed
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_memory_is_not_requested_from_the_system_again():
    def faults(how):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], cwd=ROOT, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("default") >= 2**14
    assert faults("keep") < 100
