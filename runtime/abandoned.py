"""What Orbax says beside the error that it raises: where one array of many fails, the others complain, too."""

import inspect
import logging
import sys
import warnings

_CLOSED = "Event loop is closed"  # what a read says that ends after the loop that waited for it


def ignore_abandoned_reads() -> None:
    """From now on, nothing is printed about coroutines that nobody waits for, nor an exception that is raised as well.

    Python prints these complaints whenever it collects the coroutines, each with a traceback, so the process keeps the
    setting. All others are printed as before.
    """
    logging.getLogger("absl").addFilter(_is_no_exception)
    sys.unraisablehook = _report
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message=r"coroutine '.*' was never awaited", category=RuntimeWarning)


def _is_no_exception(record: logging.LogRecord) -> bool:
    return not record.exc_info


def _report(complaint: "sys.UnraisableHookArgs") -> None:
    if inspect.iscoroutine(complaint.object) or str(complaint.exc_value) == _CLOSED:
        return
    sys.__unraisablehook__(complaint)
