"""Signals."""

import signal

from runtime.signals import SIGNALS, report_on_signal


def test_afterwards_the_handlers_are_what_they_were():
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with report_on_signal(lambda: "never"):
        assert [signal.getsignal(number) for number in SIGNALS] != handlers
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert signal.set_wakeup_fd(-1) == -1
