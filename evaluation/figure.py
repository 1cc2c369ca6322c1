"""A number with all that a reader needs to trust it."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Figure:
    """A metric's value, its error bar and what the bar is, the numbers of examples, and a warning where they are few.

    value: the metric. error: one standard deviation, or NaN where there is none. error_from: where the bar comes from,
    in words. num_samples, num_real: how many examples went in; 0 where there are none, None where it is not known.
    warning: a sentence, or empty. details: further numbers by name.
    """

    value: float
    error: float
    error_from: str
    num_samples: int | None
    num_real: int | None
    warning: str = ""
    details: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same for a report: `details` beside the rest, `warning` only where there is one."""
        fields = dataclasses.asdict(self)
        details, warning = fields.pop("details"), fields.pop("warning")
        return fields | ({"warning": warning} if warning else {}) | details
