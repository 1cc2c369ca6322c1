"""Reads that a library abandons: where one array of many cannot be read, Orbax leaves the others to complain later."""

import inspect
import logging
import sys
import warnings

_CLOSED = "Event loop is closed"  # what a read says that ends after the loop that waited for it


def ignore_abandoned_reads() -> None:
    """From now on, nothing is printed about coroutines that nobody waits for; their error has been reported once.

    Python prints these complaints whenever it collects the coroutines, each with a traceback, so the process keeps the
    setting. All others are printed as before.
    """
    sys.unraisablehook = _report
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message=r"coroutine '.*' was never awaited", category=RuntimeWarning)


def _report(complaint: "sys.UnraisableHookArgs") -> None:
    if inspect.iscoroutine(complaint.object) or str(complaint.exc_value) == _CLOSED:
        return
    sys.__unraisablehook__(complaint)
