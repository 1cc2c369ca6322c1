"""The memory of this process: what it holds, and what it can hold."""

import pathlib

PAGE = 4096  # bytes; the unit of /proc/self/statm on the systems that JAX runs on
CGROUP = pathlib.Path("/sys/fs/cgroup/memory.max")  # the limit of a container or a Slurm job


def resident_bytes(process: int | str = "self") -> int:
    """Bytes of memory that this process, or the one of a number, holds; 0: unknown."""
    try:
        return int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


def host_bytes(resident: int) -> int:
    """Bytes that this process can hold, where it holds `resident` already; 0: unknown.

    The smaller of what the system has left and the limit of the container.
    """
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        available = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":") for line in lines)}
        limit = available["MemAvailable"] + resident
    except (OSError, ValueError, KeyError, IndexError):
        return 0
    try:
        return min(limit, int(CGROUP.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return limit
