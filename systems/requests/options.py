"""The options of a task of the program sample: the fields of its request, read from a command line by their types."""

import dataclasses
import pathlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from core.tables import nearest
from systems.requests.base import Request

R = TypeVar("R", bound=Request)
TRUTH = {"true": True, "1": True, "false": False, "0": False}
READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {  # by type: what it is in words, and how it is read
    int: ("whole number", int),
    float: ("number", float),
    bool: ("truth value", lambda text: TRUTH[text.lower()]),
    str: ("text", str),
    pathlib.Path: ("path", pathlib.Path),
}


def read(request: type[R], task: str, given: Mapping[str, str]) -> R:
    """The request of `task` with the options `given`, by flag: `request.NAME`, or `NAME` for a flag of its own.

    Errors: ValueError, one sentence, for an option that the task does not have, and for a value of another type.
    """
    hints, values = typing.get_type_hints(request), {}
    for flag, text in given.items():
        name = flag.removeprefix("request.")
        if name not in names(request):
            raise ValueError(
                f"--{flag}={text} is not an option of --task={task}, which has {listed(request)}"
                + (f" (nearest: {nearest(name, names(request))})." if names(request) else ".")
            )
        values[name] = _read(flag, text, hints[name])
    return request(task, **values)


def names(request: type[Request]) -> list[str]:
    """The options of a request: its fields but `task`."""
    return [field.name for field in dataclasses.fields(request) if field.name != "task"]


def listed(request: type[Request]) -> str:
    """The options of a request with their defaults, as flags; "none" without options."""
    fields = [field for field in dataclasses.fields(request) if field.name != "task"]
    return ", ".join(f"--request.{field.name}={_shown(field.default)}" for field in fields) or "none"


def _shown(default: Any) -> str:
    if default is dataclasses.MISSING:
        return "VALUE"
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _read(flag: str, text: str, hint: Any) -> Any:
    """`text` as a value of the type `hint`. Errors: ValueError."""
    if isinstance(hint, types.UnionType):
        if text == "None":
            return None
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
    several = typing.get_origin(hint) is tuple
    kind = typing.get_args(hint)[0] if several else hint
    if kind not in READERS:
        raise TypeError(
            f"The option --{flag} is declared as {hint}; use int, float, bool, str, Path or a tuple of one."
        )
    words, reader = READERS[kind]
    try:
        return tuple(reader(part) for part in text.split(",") if part) if several else reader(text)
    except (KeyError, ValueError):
        needed = f"{words}s, separated by commas, are" if several else f"a {words} is"
        raise ValueError(f"--{flag}={text} was given, but {needed} needed.") from None
