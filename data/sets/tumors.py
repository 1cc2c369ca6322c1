"""The breast cancer data that scikit-learn carries, as a TFDS data set: real vectors without any download.

30 measurements of cell nuclei in each of 569 images of tissue, as numbers without levels: zero mean and unit deviation
in the training split. The label is 0 (malignant) or 1 (benign). The test split is every sixth example.

Source: W. Wolberg, O. Mangasarian, N. Street and W. Street, "Breast Cancer Wisconsin (Diagnostic)", UCI Machine
Learning Repository, 1993; CC BY 4.0.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data.sets import embedded

TEST_EVERY = 6
NUM_FEATURES = 30


class Tumours(tfds.core.GeneratorBasedBuilder):
    """TFDS builder: `features` [30] float32, `label` 0 or 1; 474 train and 95 test examples."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (the name and kind that TFDS reads)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "features": tfds.features.Tensor(shape=(NUM_FEATURES,), dtype=np.float32),
            "label": tfds.features.ClassLabel(names=("malignant", "benign")),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Measurements of cell nuclei in images of breast tissue, standardised.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://archive.ics.uci.edu/dataset/17",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {"train": self._generate_examples(test=False), "test": self._generate_examples(test=True)}

    def _generate_examples(self, test: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        from sklearn.datasets import load_breast_cancer  # one second to import, once in a data directory's life

        found = load_breast_cancer()
        is_test = np.arange(len(found.data)) % TEST_EVERY == 0
        of_training = found.data[~is_test]
        values = (found.data - of_training.mean(0)) / of_training.std(0)
        for index in np.flatnonzero(is_test == test):
            yield int(index), {"features": values[index].astype(np.float32), "label": int(found.target[index])}


def prepare(data_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """The prepared builder in `data_dir`; see `data.sets.embedded.prepare`."""
    return embedded.prepare(Tumours, data_dir)
