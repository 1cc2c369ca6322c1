"""Tables of names: choosing an entry, and naming the nearest one where there is none."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def nearest(name: str, choices: Iterable[str]) -> str:
    """The choice that looks most like `name`."""
    return difflib.get_close_matches(name, list(choices), n=1, cutoff=0.0)[0]


def nearest_path(name: str, choices: Iterable[str], separator: str) -> str:
    """The choice that looks most like `name`, where its last part, such as `lr` of `optim.lr`, counts most."""
    known, last = list(choices), name.rsplit(separator, 1)[-1]
    by_last: dict[str, list[str]] = {}
    for choice in known:
        by_last.setdefault(choice.rsplit(separator, 1)[-1], []).append(choice)
    if last in by_last:
        return nearest(name, by_last[last])
    return nearest(name, known) if separator in name else by_last[nearest(last, by_last)][0]


def choose(key: str, name: str, table: Mapping[str, T]) -> T:
    """`table[name]`; an unknown name is a ValueError with the key, the value, the choices and the nearest of them."""
    if name not in table:
        raise ValueError(
            f"config.{key} = {name!r} is not known; choose one of {', '.join(sorted(table))} "
            f"(nearest: {nearest(name, table)})."
        )
    return table[name]
