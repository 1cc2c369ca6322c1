"""Conditions on the value of one setting: in words for the reference page, and as errors of one sentence."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from core.tables import choose


@dataclasses.dataclass(frozen=True)
class Check:
    """A condition on a value; `words` completes the sentence "It must ...".

    `run(key, value)` raises a ValueError with the key, the value and the condition where the value does not meet it.
    """

    words: str
    run: Callable[[str, Any], None]


def must(words: str, holds: Callable[[Any], bool]) -> Check:
    """The condition `holds(value)`."""

    def run(key: str, value: Any) -> None:
        if not holds(value):
            raise ValueError(f"config.{key} = {value}, but it must {words}.")

    return Check(words, run)


def each(noun: str, words: str, holds: Callable[[Any], bool], kind: Any = str, may_be_empty: bool = True) -> Check:
    """The condition `holds(entry)` for every entry of a tuple, of type `kind`; `noun` is what an entry is called."""

    def run(key: str, value: Any) -> None:
        for entry in value:
            if isinstance(entry, bool) or not isinstance(entry, kind) or not holds(entry):
                raise ValueError(f"config.{key} has {entry or repr(entry)}, but {noun} must {words}.")
        if not value and not may_be_empty:
            raise ValueError(f"config.{key} is empty, but it must have at least one entry.")

    return Check(f"have entries {words.removeprefix('be ')}", run)


def one_of(*choices: str) -> Check:
    """One of a closed set of names. Names that are rows of a table are checked by the builder that has the table."""

    def run(key: str, value: Any) -> None:
        choose(key, value, dict.fromkeys(choices))

    return Check(f"be one of {', '.join(f'`{name}`' for name in choices)}", run)


POSITIVE = must("be positive", lambda value: value > 0)
NON_NEGATIVE = must("not be negative", lambda value: value >= 0)
PROBABILITY = must("be in [0, 1]", lambda value: 0 <= value <= 1)
BELOW_ONE = must("be in [0, 1)", lambda value: 0 <= value < 1)
DTYPE = one_of("float32", "bfloat16")
SPLIT = one_of("train", "test")
STEPS = must(
    "be empty or (FIRST, LAST) with integers 1 <= FIRST <= LAST",
    lambda value: (
        not len(value) or (len(value) == 2 and all(type(step) is int for step in value) and 1 <= value[0] <= value[1])
    ),
)
NAMES = each("an entry", "be a name", bool)
SIZES = each("an entry", "be a positive integer", lambda size: size > 0, int)
_NUMBER = r"-?\d+(\.\d*)?([eE][-+]?\d+)?"
_LOSS_WEIGHT = re.compile(rf"\w+={_NUMBER}(:{_NUMBER}@(?P<first>\d+):(?P<last>\d+))?")
LOSS_WEIGHTS = each(
    "a weight",
    "be NAME=WEIGHT or NAME=START:END@FIRST:LAST with FIRST < LAST",
    lambda entry: (
        (found := _LOSS_WEIGHT.fullmatch(entry)) is not None
        and (found["first"] is None or int(found["first"]) < int(found["last"]))
    ),
)
STAGES = each(
    "a stage",
    "be NAME=WORKDIR or NAME=WORKDIR:CHECKPOINT",
    lambda entry: re.fullmatch(r"[A-Za-z]\w*=.+", entry) is not None,
)
