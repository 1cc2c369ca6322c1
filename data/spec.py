"""What a model needs to know of its data without having them: kept in checkpoints."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from data.source import Source


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """Shape and type of an example, levels (0: values without levels) and classes (0: none) of a data set."""

    shape: tuple[int, ...]
    dtype: str
    num_levels: int
    num_classes: int

    @classmethod
    def of(cls, source: Source) -> Self:
        """The spec of a source."""
        return cls(tuple(source.shape), source.dtype, source.num_levels, source.num_classes)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The spec that `to_json` gave."""
        return cls(tuple(stored["shape"]), stored["dtype"], stored["num_levels"], stored["num_classes"])

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON."""
        return dataclasses.asdict(self) | {"shape": list(self.shape)}
