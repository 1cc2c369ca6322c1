"""Text that others have written."""

import logging

import pytest

from core.text import OneLine, printable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a plain name, ünïcode 図.png", "a plain name, ünïcode 図.png"),
        ("\x1b[2J\x1b]0;title\x07.png", "\\x1b[2J\\x1b]0;title\\x07.png"),
        ("a\nerror: b\r.png", "a\\nerror: b\\r.png"),
        ("not UTF-8: \udcff", "not UTF-8: \\udcff"),
        ("\u202egnp.exe \u2028 \x9b31m", "\\u202egnp.exe \\u2028 \\x9b31m"),
    ],
)
def test_what_controls_a_terminal_is_shown_as_an_escape(given, shown):
    assert printable(given) == shown
    shown.encode()  # any terminal can print it


def test_a_line_of_the_log_has_no_control_characters():
    record = logging.LogRecord("", logging.WARNING, "", 0, "%s is damaged", ("\x1b[31mred.png",), None)
    assert OneLine("%(message)s").format(record) == "\\x1b[31mred.png is damaged"
