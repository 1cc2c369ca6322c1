"""What the values of a report must be to be shown; a report of other contents is damaged, or someone else's."""

import re
from collections.abc import Mapping
from typing import Any

# What reports of other contents raise where they are read.
UNFIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
DIGITS = re.compile(r",?(\.\d{1,2})?[defgn%]?")  # formats of numbers, which could ask for any width
_PATH = str | None
COLUMN = {
    "path": str, "heading": str, "better": _PATH, "error": _PATH, "baseline": _PATH, "digits": str, "rank": int,
    "variant": str, "identity": str,
}  # fmt: skip


def check_kinds(given: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Errors: TypeError, KeyError for an entry of another kind, and for integers beyond all floats."""
    for name, kind in kinds.items():
        value = given[name]
        if not isinstance(value, kind) or (isinstance(value, int) and not is_number(value)):
            raise TypeError(f"{name} is {str(value)[:50]!r}")


def check_column(given: Mapping[str, Any]) -> None:
    """Errors: TypeError, ValueError, KeyError for the fields of a column that cannot be shown."""
    check_kinds(given, COLUMN)
    if not DIGITS.fullmatch(given["digits"]) or given["better"] not in (None, "lower", "higher"):
        raise ValueError(f"{given['digits'][:50]!r} and {given['better']!r} do not describe a number")


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number of moderate size."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def is_time(line: Mapping[str, Any]) -> bool:
    """Whether a line says how long a task took."""
    return (
        isinstance(line.get("task"), str) and is_number(line.get("seconds")) and isinstance(line.get("time", ""), str)
    )
