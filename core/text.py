"""Text that others have written, such as the names of their files, made harmless for a terminal."""

import logging
import unicodedata

_HARMFUL = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories of Unicode: control, format, surrogates, line separators


def printable(text: str) -> str:
    """`text` on one line, with an escape such as \\x1b in place of each character that controls a terminal."""
    return "".join(
        character.encode("unicode_escape", "surrogatepass").decode()
        if unicodedata.category(character) in _HARMFUL
        else character
        for character in text
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or without one the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class OneLine(logging.Formatter):
    """The format of the log: each event is one line of printable characters, except for a traceback below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line of an event."""
        return "\n".join(map(printable, super().formatMessage(record).split("\n")))
