"""The default config, assembled from the declarations in `configs/sections/`, and what follows from them.

Names are those of the published code, so that its users' commands carry over. A key that is not declared cannot be set.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from configs import validation
from configs.keys import Mismatch, differences, flatten, set_value, to_json, unknown_key
from configs.sections import KEYS, SECTIONS
from configs.sections.data import RESOLVED
from configs.stored import migrated
from core.imports import is_from_file, named_by_file, named_by_user

__all__ = [
    "KEYS",
    "changes_evaluation",
    "complete",
    "differences",
    "flatten",
    "from_json",
    "get_config",
    "is_fixed",
    "is_resolved",
    "mismatch",
    "name_imports",
    "to_json",
    "validate",
]


def get_config() -> ml_collections.ConfigDict:
    """A new, locked config with every key at its default: a sub-VP DDPM++ on CIFAR-10."""
    config = ml_collections.ConfigDict({section: {} for section in SECTIONS if section})
    for key, declared in KEYS.items():
        set_value(config, key, declared.initial())
    return config.lock()


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks everything about a config that needs nothing but the config; see `configs.validation`.

    Errors: ValueError, one sentence with the key, the value and what is expected.
    """
    validation.check(config, KEYS)


def is_fixed(key: str) -> bool:
    """Whether a resumed run may not change this key, as it would train another model or see other data."""
    return _changes(key) == "model"


def changes_evaluation(key: str) -> bool:
    """Whether rounds of an evaluation with another value of this key cannot be combined with new ones."""
    return _changes(key) != "nothing"


def mismatch(key: str) -> Mismatch:
    """What a program that uses a checkpoint does if it is given another value of this key; see `Key.mismatch`."""
    if not is_fixed(key):
        return "given"
    return KEYS[key].mismatch if key in KEYS else "error"


def is_resolved(key: str, dataset: str) -> bool:
    """Whether the data determine the value of a key, so that a run may have another one than its config file says."""
    return key == "model.conditions" or (key in RESOLVED and (":" in dataset or "/" in dataset))


def _changes(key: str) -> str:
    """`Key.changes`; for a key of another version, which is not declared here, the most that it could be."""
    return KEYS[key].changes if key in KEYS else "model"


def from_json(stored: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config that `to_json` wrote, perhaps of an earlier version; keys that it lacks have their defaults.

    Import paths in it are not followed unless the user names them, too (`core.imports`).
    Errors: ValueError, one sentence, for a key that does not exist, and for a value of another type.
    """
    config = get_config()
    for key, value in flatten(migrated(stored)):
        if key not in KEYS:
            raise unknown_key(key, KEYS)
        named_by_file(value)
        try:
            set_value(config, key, tuple(value) if isinstance(value, list) else value)
        except TypeError as error:
            raise ValueError(
                f"the stored config has config.{key} = {repr(value)[:100]}, which is of another type than the setting; "
                "restore the file that it is in from a copy."
            ) from error
    return config


def name_imports(config: ml_collections.ConfigDict) -> None:
    """Says that the user names the import paths of a config, except those that so far only a file names."""
    for _, value in flatten(config):
        if not isinstance(value, tuple) and not is_from_file(value):
            named_by_user(value)


def complete(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config, perhaps of an earlier version, as JSON; keys that it lacks have their defaults.

    Errors: TypeError for a section that is a value.
    """
    completed = to_json(get_config())
    for key, value in flatten(migrated(stored)):
        if isinstance(completed.get(key), Mapping) and not isinstance(value, Mapping):
            raise TypeError(f"{key} is a section, but it is {value!r}.")
        for section in key.split(".")[:-1]:
            completed.setdefault(section, {})
        set_value(completed, key, value)
    return completed
