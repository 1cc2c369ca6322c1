"""How a run that has started can end early: one sentence, an exit code, and everything that was saved intact."""

import enum


class ExitCode(enum.IntEnum):
    """What a process returns to the shell; see docs/exit_codes.md."""

    DONE = 0
    USER_ERROR = 2  # the command, the config or the data are wrong; nothing was started
    RUN_ERROR = 3  # a run that had started cannot continue: no checkpoint, non-finite loss, full disk, another trainer
    NO_CHECKPOINT = 4  # an evaluation waited for a checkpoint that did not come
    STOPPED = 5  # stopped by a signal; saved, and the same command resumes
    PEER_GONE = 6  # another process of the run is gone; start all of them again


class RunError(RuntimeError):
    """A run cannot continue; the message says what was found, what was expected, and what to do."""

    exit_code = ExitCode.RUN_ERROR


class PeerError(RunError):
    """Another process of the run no longer responds."""

    exit_code = ExitCode.PEER_GONE


class DiskError(RunError, OSError):
    """A file cannot be written: the disk is full or read-only, or the folder is gone; what was written is kept."""

    def __init__(self, message: str, cause: OSError):
        super().__init__(message)
        self.errno, self.strerror = cause.errno, cause.strerror

    def __str__(self) -> str:
        return str(self.args[0])


class DamagedFileError(RunError, ValueError):
    """A file that a program wrote has other contents than a program writes; the message names it."""


class Stopped(Exception):  # noqa: N818  requested by a signal, not an error
    """A signal ended the run after a step, and its state is saved."""

    exit_code = ExitCode.STOPPED
