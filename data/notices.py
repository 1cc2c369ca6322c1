"""Lines in the log about what a reader leaves out."""

import logging
from collections.abc import Sequence

SHOWN = 3  # of a list
LONGEST = 200  # characters of a name
_GIVEN: set[str] = set()


def warn_once(message: str, about: str | None = None) -> None:
    """A warning in the log, the first time that it is given, or the first one `about` something."""
    key = about or message
    if key not in _GIVEN:
        _GIVEN.add(key)
        logging.warning("%s", message)


def some_of(names: Sequence[str], shown: int = SHOWN) -> str:
    """The first names of a list, and how many more there are; names in files may be of any length."""
    more = len(names) - shown
    return ", ".join(map(short, names[:shown])) + (f" and {more} more" if more > 0 else "")


def short(name: str) -> str:
    """The beginning of a name."""
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
