"""What the C library does with memory that a program frees."""

import ctypes
import os
import sys

# The parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
LARGE = 2**25  # bytes of a block that is a mapping of its own; glibc accepts no larger limit
_PAD = 2**26  # bytes by which the heap of smaller blocks grows, and half of what is kept at its end
_TUNABLES, _HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def configure() -> None:
    """Returns large blocks to the system when they are freed, and makes them of huge pages; starts the program again.

    On a CPU, XLA allocates the temporary memory of a program each time it runs, some hundred MiB for a training step.
    In the heap, small blocks come to lie where a large one was, so that the next one needs new space, and several of
    them add up. As mappings of their own they hold what is in use and no more; that costs a fault for each page, which
    is why the pages are huge (docs/performance.md). glibc reads that setting when a process begins: the process is
    replaced by the same command, with `GLIBC_TUNABLES`, unless that has the setting already. To be called before
    threads start. Sources: the manual pages mallopt(3) and ld.so(8).
    """
    if not sys.platform.startswith("linux"):
        return
    tunables = os.environ.get(_TUNABLES, "")
    if _HUGE_PAGES not in tunables:
        os.environ[_TUNABLES] = f"{tunables}:{_HUGE_PAGES}=1".lstrip(":")
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return_large_blocks()


def return_large_blocks() -> bool:
    """Makes each block of `LARGE` bytes or more a mapping of its own; False with a C library other than glibc."""
    settings = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, LARGE), (_TRIM_THRESHOLD, 2 * _PAD), (_TOP_PAD, _PAD))
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    accepted = [bool(mallopt(name, value)) for name, value in settings]
    return all(accepted)


def release_memory() -> bool:
    """Returns all memory that the program has freed to the system; whether there was any.

    Source: the manual page malloc_trim(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError):
        return False
