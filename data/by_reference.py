"""A function that other processes read from memory of this one, instead of from the pipe that starts them."""

import functools
import os
import pickle
import sys
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle


class ByReference:
    """A function that is pickled as the name of a file with what it holds; it must outlive the processes.

    Starting a process writes its arguments to a pipe, which holds 64 KiB. A process that is killed before it has read
    them, as for want of memory, leaves a writer of more than that waiting for ever: it holds the reading end itself.
    On Linux the file is in memory, and ends with this process, however that is killed.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function

    def __call__(self, *args: Any) -> Any:
        """The function of these arguments."""
        return self.function(*args)

    def __reduce__(self) -> tuple[Callable[[str], Callable[..., Any]], tuple[str]]:
        return _load, (self._path,)

    @functools.cached_property
    def _path(self) -> str:
        if sys.platform.startswith("linux"):
            number = os.memfd_create("function")
            path, end = f"/proc/{os.getpid()}/fd/{number}", functools.partial(os.close, number)
        else:
            number, path = tempfile.mkstemp()
            os.close(number)
            end = functools.partial(os.unlink, path)
        weakref.finalize(self, end)
        with open(path, "wb") as file:
            cloudpickle.dump(self.function, file)
        return path


def _load(path: str) -> Callable[..., Any]:
    with open(path, "rb") as file:
        return pickle.load(file)
