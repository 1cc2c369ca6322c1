"""The program config: the settings of a command, which of them differ from their defaults, and where they come from."""

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ml_collections import ConfigDict, config_flags

from builders.data import resolve
from configs import default, needs
from configs.default import KEYS, flatten
from programs.flags import source_of

Lines = list[str]


def command(given: Any) -> Callable[[], None]:
    """--mode=config. Errors: ValueError for the config."""
    default.validate(given.config)
    return lambda: print("\n".join(described(given.config, overrides(given), origin(given))))


def overrides(given: Any) -> Collection[str]:
    """The settings that the command line sets."""
    return config_flags.get_override_values(given["config"]).keys()


def origin(given: Any) -> str:
    """Where the settings come from that neither are defaults nor on the command line."""
    try:
        file = config_flags.get_config_filename(given["config"])
    except (AttributeError, ValueError):
        file = None
    return str(file) if isinstance(file, str) and file else f"the checkpoint in {source_of(given)}"


def described(config: ConfigDict, on_command_line: Collection[str], source: str) -> Lines:
    """A line for each setting; where it is not the default, also the default and where the value comes from.

    Of data that can be read, shape and levels are those of the data.
    """
    before = dict(flatten(config))
    config = config.copy_and_resolve_references()
    with contextlib.suppress(ValueError, OSError):  # data that are not there yet
        resolve(config, None)
    return [_line(key, value, _source(key, value, before, on_command_line, source)) for key, value in flatten(config)]


def without_effect(given: Any) -> Lines:
    """A sentence for each setting of the command line that another setting disables."""
    sections = {key.split(".")[0] for key in KEYS} - ({"eval"} if given.mode != "eval" else set())
    return list(needs.without_effect(given.config, overrides(given), KEYS, sections))


def _source(key: str, value: Any, before: Mapping[str, Any], given: Collection[str], source: str) -> str:
    if value != before[key]:
        return "the data"
    return "the command line" if key in given else source


def _line(key: str, value: Any, source: str) -> str:
    declared = KEYS[key].default
    standard = None if isinstance(declared, type) else declared
    differs = f"  # {source}; default: {standard!r}" if value != standard else ""
    return f"config.{key} = {value!r}{differs}"
