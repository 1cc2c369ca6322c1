"""What training is predicted to need, and what is refused before the first step."""

import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import core.memory
from core.memory import host_bytes, resident_bytes
from runtime import memory
from tests.support.paths import ROOT

MIB = 2**20


@pytest.fixture
def compiled():
    """A program with a temporary block of 64 MiB."""
    return jax.jit(lambda x: jnp.sum(jnp.sort(jnp.outer(x, x)))).lower(jnp.zeros(4096)).compile()


def test_a_cpu_needs_what_the_process_holds_and_one_program_for_each_of_its_devices(compiled):
    device = jax.local_devices(backend="cpu")[0]
    found = memory.step_memory(compiled, device)
    fresh = compiled.memory_analysis().temp_size_in_bytes * len(jax.local_devices(backend="cpu"))
    assert fresh >= 64 * MIB
    assert found.needed == pytest.approx(resident_bytes() + fresh, abs=32 * MIB)
    assert found.limit > resident_bytes()


def test_the_limit_of_a_container_counts_where_it_is_the_smaller(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(core.memory, "CGROUP", limit)
    unlimited = host_bytes(100 * MIB)
    limit.write_text("max\n")
    assert host_bytes(100 * MIB) == pytest.approx(unlimited, rel=0.1)
    limit.write_text(f"{300 * MIB}\n")
    assert host_bytes(100 * MIB) == 300 * MIB
    assert unlimited > 100 * MIB


BLOCKS = """
from core import memory
from runtime import malloc
import ctypes
if SET:
    malloc.configure()
libc = ctypes.CDLL(None)
SET or libc.mallopt(-4, 0)  # no block is a mapping of its own
libc.memalign.restype, libc.memalign.argtypes = ctypes.c_void_p, [ctypes.c_size_t, ctypes.c_size_t]
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
SIZE = 2**25
before, peak = memory.resident_bytes(), 0
for turn in range(8):
    block = libc.memalign(64, SIZE)
    libc.memset(block, 1, SIZE)
    for small in range(64):
        libc.malloc(16 + small)  # what remains between the blocks
    peak = max(peak, memory.resident_bytes() - before)
    libc.free(block)
print(peak // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_large_blocks_do_not_add_up():
    """Aligned blocks of one size, each freed before the next, with small allocations between them."""

    def peak(is_set):
        program = BLOCKS.replace("SET", str(is_set))
        return int(subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True).stdout)

    assert peak(True) <= 36
    assert peak(False) > 2 * 32
