"""What ends a run that had begun: one sentence each, and what is saved stays intact."""


class RunError(RuntimeError):
    """A run cannot go on; the message says what was met, what was expected, and what to do."""


class Stopped(Exception):  # noqa: N818  not an error: a signal asked for it
    """A signal ended the run after a step, and its state is saved."""


class PeerError(RunError):
    """Another process of the run does not answer any more."""
