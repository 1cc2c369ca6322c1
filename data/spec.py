"""The properties of a data set that a model depends on; a checkpoint stores them, so it works without the data."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from data.fields import Field, HasFields, labeled


@dataclasses.dataclass(frozen=True)
class DataSpec(HasFields):
    """The fields of a data set by name."""

    fields: Mapping[str, Field]

    @classmethod
    def of(cls, source: HasFields) -> Self:
        """The spec of a source."""
        return cls(dict(source.fields))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; also of its earlier form, which had x and the number of classes alone."""
        if "fields" not in stored:
            x = Field(tuple(stored["shape"]), stored["dtype"], stored["num_levels"])
            return cls(labeled(x, stored["num_classes"]))
        return cls({name: _field(entry) for name, entry in stored["fields"].items()})

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON."""
        return {
            "fields": {
                name: dataclasses.asdict(field) | {"shape": list(field.shape), "class_names": list(field.class_names)}
                for name, field in self.fields.items()
            }
        }

    def zeros(self, size: int) -> dict[str, np.ndarray]:
        """A batch of `size` examples of zeros, which shows a compiler what batches look like."""
        return {name: np.zeros((size, *field.shape), field.dtype) for name, field in self.fields.items()}


def _field(stored: Mapping[str, Any]) -> Field:
    """The field that JSON has with lists instead of tuples."""
    return Field(**{**stored, "shape": tuple(stored["shape"]), "class_names": tuple(stored["class_names"])})
