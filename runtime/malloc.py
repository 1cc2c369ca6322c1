"""What becomes of the memory that a program frees on a CPU."""

import ctypes
import importlib.metadata
import os
import sys

PACKAGE, LIBRARY = "cmeel-mimalloc", "libmimalloc.so"
PURGE_DELAY = "100"  # milliseconds


def configure() -> None:
    """Starts the program again with mimalloc as its allocator, which keeps freed memory for a moment, then returns it.

    XLA allocates the temporary memory of a program each time it runs, some hundred MiB for a training step. glibc
    requests blocks of that size from the operating system and returns them, so that each step waits for fresh pages;
    if told to keep them, it comes to hold several (docs/performance.md). mimalloc keeps them for `PURGE_DELAY`: until
    the next step, but not once they are no longer used. An allocator is chosen when a process begins: the process is
    replaced by the same command, with `LD_PRELOAD`. Where that names an allocator already, as on TPU machines, where
    the package is missing, and on other systems than Linux, nothing changes.
    Sources: Leijen et al., "Mimalloc: Free List Sharding in Action" (2019); the manual page ld.so(8).
    """
    preloaded = os.environ.get("LD_PRELOAD", "")
    if not sys.platform.startswith("linux") or "malloc" in preloaded:
        return
    library = _library()
    if library is None or set(library) & set(" :"):  # they separate the entries of LD_PRELOAD
        return
    os.environ["LD_PRELOAD"] = f"{library}:{preloaded}".rstrip(":")
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", PURGE_DELAY)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _library() -> str | None:
    """The path of mimalloc's library in this environment."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [str(file.locate()) for file in files if file.name.startswith(LIBRARY)]
    return next((path for path in sorted(paths, key=len) if os.path.exists(path)), None)


def release_memory() -> None:
    """Returns all memory that the program has freed to the system, where the allocator is mimalloc or glibc's.

    Source: mimalloc's `mi_collect`; the manual page malloc_trim(3).
    """
    if not sys.platform.startswith("linux"):
        return
    program = ctypes.CDLL(None)
    if hasattr(program, "mi_collect"):
        program.mi_collect(True)
    elif hasattr(program, "malloc_trim"):
        program.malloc_trim(0)
