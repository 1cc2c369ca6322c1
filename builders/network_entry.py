"""What a network of the table is, and what it can do."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from ml_collections import ConfigDict

from models.blocks.conditioning import Entry

Output = Literal["prediction", "classes", "categories"]
FOUND = {"prediction": "a prediction", "classes": "logits of classes", "categories": "logits of categories"}
NEEDED = {"prediction": "a prediction", "classes": "logits", "categories": "logits of categories"}
SYSTEM_OF = {"classes": "classifier", "categories": "categorical"}


@dataclasses.dataclass(frozen=True)
class NetworkEntry:
    """A network and its capabilities.

    `make`: from the config and its SDE or chain, or its process of categories.
    `ranks`: the number of axes of the examples that it takes: 1 vectors, 2 series, 3 images, 4 volumes.
    `classes`, `augmentation`: whether it can be conditioned on class labels, and on how a batch was augmented.
    `signals`: how further fields of the data can enter, see `model.conditions`.
    `second_time`: whether it can be conditioned on a second time, as average velocities need.
    `remat`: whether it has blocks that can be recomputed in the backward pass.
    `is_classifier`: whether its outputs are logits of classes instead of a prediction of the shape of its input.
    `categories`: whether it takes integers, and its outputs are logits of the categories of every site.
    """

    make: Callable[[ConfigDict, Any], Any]
    ranks: tuple[int, ...] = (3,)
    classes: bool = False
    augmentation: bool = False
    signals: tuple[Entry, ...] = ()
    second_time: bool = False
    remat: bool = True
    is_classifier: bool = False
    categories: bool = False

    @property
    def output(self) -> Output:
        """What its outputs are."""
        return "classes" if self.is_classifier else "categories" if self.categories else "prediction"
