"""Tables of names: choosing an entry, and naming the nearest one where there is none."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def nearest(name: str, choices: Iterable[str]) -> str:
    """The choice that looks most like `name`."""
    return difflib.get_close_matches(name, list(choices), n=1, cutoff=0.0)[0]


def choose(key: str, name: str, table: Mapping[str, T]) -> T:
    """`table[name]`; an unknown name is a ValueError with the key, the value, the choices and the nearest of them."""
    if name not in table:
        raise ValueError(
            f"config.{key} = {name!r} is not known; choose one of {', '.join(sorted(table))} "
            f"(nearest: {nearest(name, table)})."
        )
    return table[name]
