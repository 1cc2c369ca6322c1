"""The form of a setting that says what a network is conditioned on: `NAME:ENTRY`, or `NAME:ENTRY:DROP_RATE`."""

import re
from typing import Literal, NamedTuple, cast, get_args

Entry = Literal["add", "norm", "concat", "cross"]
ENTRIES: tuple[Entry, ...] = get_args(Entry)
FORM = re.compile(
    r"(?P<name>[A-Za-z]\w*)"
    r"(\[(?P<shape>(\d+(,\d+)*)?)\](/(?P<num_values>\d+))?)?"
    rf":(?P<entry>{'|'.join(ENTRIES)})"
    r"(:(?P<drop_rate>0?\.\d+|0|1))?"
)


class Condition(NamedTuple):
    """A field of the data, where it enters, and how often training drops it.

    shape: of the field; None where it is yet to be found in the data. num_values: integers are below it; 0: floats.
    """

    name: str
    entry: Entry
    drop_rate: float = 0.0
    shape: tuple[int, ...] | None = None
    num_values: int = 0

    def __str__(self) -> str:
        """The setting, such as `attributes[40]:add:0.1`, or `digit[]/10:norm` for a class."""
        shape = "" if self.shape is None else f"[{','.join(map(str, self.shape))}]"
        values = f"/{self.num_values}" if self.num_values else ""
        rate = f":{self.drop_rate:g}" if self.drop_rate else ""
        return f"{self.name}{shape}{values}:{self.entry}{rate}"


def is_condition(text: object) -> bool:
    """Whether a setting has the form."""
    return isinstance(text, str) and FORM.fullmatch(text) is not None


def parse(text: str) -> Condition:
    """The condition that a setting describes. Errors: ValueError for another form."""
    found = FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not of the form NAME:ENTRY:DROP_RATE, such as 'attributes:add:0.1'.")
    shape = None if found["shape"] is None else tuple(int(side) for side in found["shape"].split(",") if side)
    rate, num_values = float(found["drop_rate"] or 0), int(found["num_values"] or 0)
    return Condition(found["name"], cast(Entry, found["entry"]), rate, shape, num_values)
