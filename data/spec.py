"""The properties of a data set that a model depends on; a checkpoint stores them, so it works without the data."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from data.source import Source


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """Shape and dtype of an example, number of levels (0: floats) and number of classes (0: none)."""

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
        """The inverse of `to_json`."""
        return cls(tuple(stored["shape"]), stored["dtype"], stored["num_levels"], stored["num_classes"])

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON."""
        return dataclasses.asdict(self) | {"shape": list(self.shape)}
