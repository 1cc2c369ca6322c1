"""What the C library does with memory that a program frees."""

import ctypes
import sys

# The parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_PAD = 2**26  # bytes by which the heap grows beyond each request


def keep_memory() -> bool:
    """Makes glibc keep freed memory for the next allocation; False with another C library.

    On a CPU, XLA allocates the temporary memory of a program each time it runs, some hundred MiB for a training step.
    By default glibc requests blocks of that size from the system and returns them, so that every step waits for fresh
    pages: a quarter of its time (docs/performance.md). To be called before threads start.
    Source: the manual page mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _PAD))
    accepted = [bool(mallopt(name, value)) for name, value in settings]
    return all(accepted)


def release_memory() -> bool:
    """Returns memory that the program has freed to the system; whether there was any.

    A freed block of the size of a program's temporary memory is a few bytes too small for the next, aligned block of
    that size, so the heap grows by several of them before two neighbors merge. This returns their pages; the block in
    use keeps its own. Source: the manual page malloc_trim(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError):
        return False
