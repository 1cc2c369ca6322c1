"""Reading a command line: the flags that several programs share, and the config of a checkpoint."""

import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from configs import default
from core.imports import named_by_user
from programs import restore_run
from training.checkpoint import CheckpointError

STORED = ("eval", "sample", "encode", "export", "config")  # programs that use the config of a checkpoint


def stored_config(argv: Sequence[str]) -> ConfigDict | None:
    """The config of the checkpoint that a command line uses, where it gives no --config; None where it needs one.

    Errors: CheckpointError where there is no such checkpoint.
    """
    allowed = (value_of(argv, "allow_code") or "").split(",")
    for path in (*allowed, *(value_of(argv, f"config.{key}") for key in default.KEYS)):
        named_by_user(path)  # a checkpoint may then name the same
    mode, workdir, config, number, first = (
        value_of(argv, name) for name in ("mode", "workdir", "config", "number", "config.eval.begin_ckpt")
    )
    workdir = value_of(argv, "model") or workdir
    if config is not None or mode not in STORED or workdir is None:
        return None
    number = first if mode == "eval" else number
    asked = int(number) if number is not None and number.isdecimal() else None
    try:
        return restore_run.peek_config(pathlib.Path(workdir), asked)
    except CheckpointError:
        if mode != "eval":
            raise
        return restore_run.peek_config(pathlib.Path(workdir))  # it is waited for; any other says what the model is


def with_request(argv: Sequence[str]) -> list[str]:
    """A command line in which each `--request.NAME=VALUE` is `--request=NAME=VALUE`; `=true` where no value is given.

    Which options there are depends on the system of the run, so that they cannot be flags of their own.
    """

    def rewritten(arg: str) -> str:
        name, equals, value = arg.removeprefix("--request.").partition("=")
        return f"--request={name}={value if equals else 'true'}" if arg.startswith("--request.") else arg

    return [rewritten(arg) for arg in argv]


def source_of(given: Any) -> pathlib.Path:
    """Where the model is: what --model gives, which may be a folder that stands alone, or else the workdir."""
    return pathlib.Path(given.model or given.workdir)


def path_of(given: Any, name: str) -> pathlib.Path:
    """The path that a flag gives. Errors: ValueError where it is missing."""
    if not getattr(given, name):
        raise ValueError(f"--mode={given.mode} needs --{name}=PATH.")
    return pathlib.Path(getattr(given, name))


def value_of(argv: Sequence[str], name: str) -> str | None:
    """The value of `--name=value` or `--name value`, the last one; None without."""
    found = None
    for k, arg in enumerate(argv[1:], start=1):
        flag, equals, value = arg.partition("=")
        if arg.startswith("-") and flag.lstrip("-") == name:
            found = value if equals else (argv[k + 1] if k + 1 < len(argv) else None)
    return found
