"""The data set of a config, opened when it is first used."""

import functools

from ml_collections import ConfigDict

from builders import data
from builders.shape import data_shape
from data.fields import Field, labeled
from data.source import Source
from data.spec import DataSpec
from data.stock import RECIPES


class Splits:
    """The training and test examples of a config; each split is opened when it is first used.

    Errors: ValueError, FileNotFoundError for data that cannot be read.
    """

    def __init__(self, config: ConfigDict):
        self._config = config

    @functools.cached_property
    def train(self) -> Source:
        """The training data."""
        return data.source(self._config, "train")

    @functools.cached_property
    def test(self) -> Source:
        """The data that the published experiments evaluate on."""
        return data.source(self._config, "test")

    def named(self, split: str) -> Source:
        """`train` or `test`."""
        return self.train if split == "train" else self.test


def spec_without_data(config: ConfigDict) -> DataSpec | None:
    """The spec of a stock data set, which its config and name determine; None for others, which have to be opened."""
    recipe = RECIPES.get(config.data.dataset.lower())
    return None if recipe is None else DataSpec(labeled(Field(data_shape(config), "uint8", 256), recipe.num_classes))
