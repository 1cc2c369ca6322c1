"""Errors of config files in one sentence: file and line, and for a key that does not exist, the nearest one."""

import pathlib
import re
import sys
import traceback
from types import FrameType

import absl
import ml_collections
from ml_collections import config_flags

from configs.keys import unknown_key
from configs.sections import KEYS, SECTIONS
from core.tables import nearest_path

_LIBRARIES = tuple(str(pathlib.Path(module.__path__[0])) for module in (absl, ml_collections))
# What a locked ConfigDict says when an unknown key is set, and when one is read.
_NOT_INTEGER = re.compile(r"invalid literal for int\(\) with base 10: '(?P<value>.*?)'$")
_NOT_TUPLE = re.compile(r"Error while parsing string: .* as tuple\. .*$")
_UNKNOWN = re.compile(r"Key \"(?P<set>\w+)\" does not exist|\\?'(?P<read>\w+)\\?'")
ROOT = pathlib.Path(__file__).resolve().parent.parent


def located(path: str) -> str:
    """The config file at `path`, relative to the current folder or else to this repository.

    An argument of the file, as in `FILE:ARGUMENT`, stays. Errors: ValueError where there is no such file, with the
    nearest one of `configs/`.
    """
    file, colon, argument = path.partition(":")
    if file and (ROOT / file).is_file() and not pathlib.Path(file).is_file():
        return f"{ROOT / file}{colon}{argument}"
    if not pathlib.Path(file).is_file():
        found = [
            each for each in sorted(ROOT.glob("configs/*/**/*.py")) if "def get_config(" in each.read_text("utf-8")
        ]
        known = [each.relative_to(ROOT).as_posix() for each in found]
        raise ValueError(f"--config={path} does not exist; the nearest is {nearest_path(file, known, '/')}.")
    return path


def make_importable(path: str | pathlib.Path) -> None:
    """Makes the packages beside the config file at `path` importable, after all others."""
    folder = str(pathlib.Path(path).resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)


def describe(error: BaseException) -> str:
    """One sentence for an error that occurred while the flags were parsed, which runs the config file.

    An error that the file raised begins with the line that raised it; others keep their message.
    """
    cause: BaseException | None = error
    while cause is not None:  # absl wraps some errors of the file into its own
        frames = list(traceback.walk_tb(cause.__traceback__))
        if place := _place(frames):
            return f"{place}: {_reason(cause, frames[-1][0])}"
        cause = cause.__context__
    said = _NOT_TUPLE.sub("it is not a tuple; write one such as '(1, 2)', or '()'", " ".join(str(error).split()))
    return _NOT_INTEGER.sub(lambda found: _integer_needed(found["value"]), said)


def _integer_needed(value: str) -> str:
    """What int() would not read, in words; of a whole number in another form, the integer."""
    try:
        number = float(value)
    except ValueError:
        return f"{value!r} is not an integer"
    return f"{value!r} is not an integer" + (f"; write {int(number)}" if number.is_integer() else "")


def _place(frames: list[tuple[FrameType, int]]) -> str | None:
    """File and line of the last frame below the one that runs config files, without those of libraries."""
    files = [frame.f_code.co_filename for frame, _ in frames]
    if config_flags.config_flags.__file__ not in files:
        return None
    start = len(files) - files[::-1].index(config_flags.config_flags.__file__)
    inside = [k for k in range(start, len(files)) if not files[k].startswith((*_LIBRARIES, "<frozen"))]
    return f"{files[inside[-1]]}, line {frames[inside[-1]][1]}" if inside else None


def _reason(error: BaseException, frame: FrameType) -> str:
    """The message; for an unknown key, the sentence that names the nearest. `frame`: where the error was raised."""
    section, found = frame.f_locals.get("self"), _UNKNOWN.search(str(error))
    if found and isinstance(error, AttributeError | KeyError) and isinstance(section, ml_collections.ConfigDict):
        names = (f"{name}." if name else "" for name, keys in SECTIONS.items() if keys.keys() <= set(section.keys()))
        return str(unknown_key(next(names, "") + (found["set"] or found["read"]), [*KEYS, *SECTIONS]))
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
