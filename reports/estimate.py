"""A number with all that a reader needs to trust it."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A metric's value, its error bar and what the bar is, the numbers of examples, and a warning where they are few.

    value: the metric. error: one standard deviation, or NaN where there is none. error_from: where the bar comes from,
    in words. num_samples, num_real: how many examples went in; 0 where there are none, None where it is not known.
    warning: a sentence, or empty; remedy: what to do about it, or empty. details: further numbers by name; it has
    "standard_deviation" where the error is no standard error but, as published, the deviation over parts.
    """

    value: float
    error: float
    error_from: str
    num_samples: int | None
    num_real: int | None
    warning: str = ""
    remedy: str = ""
    details: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same for a report: `details` beside the rest, `warning`, with the remedy, only where there is one."""
        fields = dataclasses.asdict(self)
        details, warning = fields.pop("details"), "; ".join(filter(None, (fields.pop("warning"), fields.pop("remedy"))))
        return fields | ({"warning": warning} if warning else {}) | details


def warnings_of(metrics: Mapping[str, Any]) -> list[str]:
    """What the metrics of a report warn of, each sentence once: several figures may share one.

    metrics: "samples" and perhaps "data_against_data", by name what `Estimate.to_dict` gives. Of data against data only
    what the same figure of the samples does not warn of.
    """
    own = {name: figure["warning"] for name, figure in metrics["samples"].items() if "warning" in figure}
    floors = metrics.get("data_against_data", {}).items()
    other = [figure["warning"] for name, figure in floors if "warning" in figure and name not in own]
    return list(dict.fromkeys([*own.values(), *other]))


def is_deviation(figure: Mapping[str, Any]) -> bool:
    """Whether the error of a figure, as `Estimate.to_dict` gives it, is the deviation over parts, no standard error."""
    return "standard_deviation" in figure
