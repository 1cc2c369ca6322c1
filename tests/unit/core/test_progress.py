"""Signs of life: the pace, the time left, and lines where there is no terminal; bars: tests/slow/test_terminal.py."""

import re
import time

import pytest

from core import progress
from core.progress import Phase, duration, each, phase


@pytest.fixture
def clock(monkeypatch):
    """`clock.append(seconds)` sets the time."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[-1])
    return now


def test_the_first_unit_which_compiles_does_not_count_for_the_pace(clock):
    shown = Phase("sampling", 5, "round")
    for now in (100, 102, 104):
        clock.append(now)
        shown.advance()
    assert shown.rate == 0.5 and shown.seconds_left == 4
    assert str(shown) == "sampling: 3/5 rounds, 2 s each, 0:04 left"


def test_the_pace_is_that_of_the_window_and_not_of_the_last_unit(clock, monkeypatch):
    monkeypatch.setattr(progress, "WINDOW", 50.0)
    shown = Phase("training", 1000, "step")
    for now in (10, 20, 30, 40, 50, 60, 70, 80, 100):
        clock.append(now)
        shown.advance(20)
    assert shown.rate == pytest.approx(20 * 5 / (100 - 40))
    assert str(shown) == "training: 180/1000 steps, 1.67/s, 8:12 left"


def test_what_was_done_before_says_nothing_about_the_pace(clock):
    shown = Phase("samples", 10, "round")
    for _ in range(6):
        shown.skip()
    assert shown.rate == 0 and str(shown) == "samples: 6/10 rounds, 0 s"
    clock.append(8.0)
    shown.advance()
    assert str(shown) == "samples: 7/10 rounds, 8 s each, 0:24 left"


def test_many_fast_steps_keep_one_mark_a_second(clock):
    shown = Phase("training", 10**6, "step", done=500)
    for k in range(1, 10_001):
        clock[-1] = k / 1000
        shown.advance()
    assert shown.done == 10_500 and shown.rate == pytest.approx(1000, rel=1e-3)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0:00"), (40, "0:40"), (723, "12:03"), (10800, "3:00:00"), (float("inf"), "unknown")]
)
def test_durations_are_written_as_clocks_show_them(seconds, words):
    assert duration(seconds).startswith(words)


def test_without_a_terminal_a_silent_phase_is_a_line_of_the_log(monkeypatch, caplog):
    monkeypatch.setattr(progress, "FIRST", 0.05)
    monkeypatch.setattr(progress, "QUIET", 60.0)
    monkeypatch.setattr(progress, "REFRESH", 0.01)
    with caplog.at_level("INFO"), phase("outside", 3, "part"), phase("compiling the training step"):
        time.sleep(0.3)
    (record,) = caplog.records  # of the innermost, once
    assert re.fullmatch(r"compiling the training step \.\.\. \d+ s", record.getMessage())


def test_a_phase_that_ends_soon_says_nothing(caplog):
    with caplog.at_level("INFO"):
        assert list(each("abc", "letters", 3)) == ["a", "b", "c"]
    assert not caplog.records


def test_a_phase_ends_with_the_error_that_ends_it(caplog):
    with caplog.at_level("INFO"):
        for _ in range(2):
            with pytest.raises(KeyError), phase("reading"):
                raise KeyError
    assert not caplog.records
