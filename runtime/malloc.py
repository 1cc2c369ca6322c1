"""What the C library does with memory that a program gives back."""

import ctypes
import sys

# The parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_PAD = 2**26  # bytes by which the heap grows beyond what is asked for


def keep_memory() -> bool:
    """Lets glibc keep what is freed, for the next that asks; False where the C library is another.

    On a CPU XLA takes the temporary memory of a program anew each time that it runs, some hundred MiB for a training
    step. By default glibc gets blocks of that size from the system and returns them, so that every step waits for fresh
    pages: a quarter of its time (docs/performance.md). To be called before threads begin.
    Source: the manual page mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _PAD))
    taken = [bool(mallopt(name, value)) for name, value in settings]
    return all(taken)
