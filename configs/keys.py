"""The declaration of a setting, and the dotted keys by which settings are listed and compared."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import ml_collections
from ml_collections.config_dict import placeholder

from configs.checks import Check
from core.tables import nearest_path

Changes = Literal["model", "evaluation", "nothing"]
Mismatch = Literal["error", "stored", "given"]


@dataclasses.dataclass(frozen=True)
class Key:
    """One setting, declared in `configs/sections/`; everything else about it is derived from this.

    `default`: a value, or a type for a setting that is unset by default.
    `help`: what it means, with its unit and its choices, in Markdown.
    `check`: a condition on the value; settings that are unset are not checked.
    `changes`: what depends on the value. "model": the trained model or its data, so that a resumed run may not change
    it, and rounds of an evaluation do not carry over. "evaluation": only the results of an evaluation, so that a
    resumed run may change it, but rounds do not carry over. "nothing": neither.
    `mismatch`: of keys that change the model, what a program that uses a checkpoint does if the config it is given has
    another value than the checkpoint's config. "error": refuses it. "stored": uses the checkpoint's value, because the
    setting only matters for training. "given": uses the value it is given.
    `needs`: another setting without which this one has no effect: `KEY`, `KEY=VALUE|VALUE`, `KEY!=VALUE|VALUE`, or some
    of these, joined by " or "; see `configs.needs`.
    """

    default: Any
    help: str
    check: Check | None = None
    _: dataclasses.KW_ONLY
    changes: Changes
    mismatch: Mismatch = "error"
    needs: str = ""

    def initial(self) -> Any:
        """The value in a new config; a placeholder of the right type for a setting that is unset."""
        return placeholder(self.default) if isinstance(self.default, type) else self.default


def flatten(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf, in order; tuples are values."""
    for key in config:
        value = config[key]
        if isinstance(value, ml_collections.ConfigDict | dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def set_value(config: Any, key: str, value: Any) -> None:
    """Sets the dotted `key` of a config or of nested dictionaries, whose sections must exist."""
    *sections, name = key.split(".")
    for section in sections:
        config = config[section]
    config[name] = value


def to_json(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The config as JSON has it, with lists instead of tuples; the form that checkpoints and reports store."""
    return json.loads(json.dumps(config.to_dict()))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """`{key: (old value, new value)}` for all keys in which two configs, as JSON, differ."""
    a, b = dict(flatten(old)), dict(flatten(new))
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def unknown_key(key: str, known: Iterable[str]) -> ValueError:
    """The error for a key that does not exist; it names the nearest one that does."""
    return ValueError(f"config.{key} is not a setting; the nearest is config.{nearest_path(key, known, '.')}.")
