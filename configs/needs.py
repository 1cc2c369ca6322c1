"""Settings that have no effect, because another one disables them; `Key.needs` declares what a setting needs."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import ml_collections

from configs.keys import Key, flatten

CONDITION = re.compile(r"(?P<key>[\w.]+)(?P<how>!?=)?(?P<values>.*)")


def without_effect(
    config: ml_collections.ConfigDict, given: Collection[str], keys: Mapping[str, Key], sections: Collection[str]
) -> Iterator[str]:
    """A sentence for each setting of these sections that is `given` on the command line and has no effect.

    A config file may prepare what a command line switches on, so that its settings are not looked at.
    """
    values = dict(flatten(config))
    for key in keys:
        if key in given and key.split(".")[0] in sections and (reason := disabled_by(key, values, keys)):
            yield f"config.{key} = {values[key]!r} has no effect, because {reason}."


def disabled_by(key: str, values: Mapping[str, Any], keys: Mapping[str, Key]) -> str:
    """The setting that disables another one, in words; empty for a setting that has an effect."""
    reasons = [_lacking(condition, values, keys) for condition in filter(None, keys[key].needs.split(" or "))]
    return reasons[0] if reasons and all(reasons) else ""


def _lacking(condition: str, values: Mapping[str, Any], keys: Mapping[str, Key]) -> str:
    parsed = CONDITION.fullmatch(condition)
    assert parsed is not None, condition
    key, how, allowed = parsed["key"], parsed["how"], parsed["values"].split("|")
    value = values[key]
    if bool(value) if how is None else (str(value) in allowed) == (how == "="):
        return disabled_by(key, values, keys)
    return f"config.{key} = {value!r}" + (f"; it is used with {' or '.join(allowed)}" if how == "=" else "")
