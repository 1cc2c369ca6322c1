"""The handwritten digits that scikit-learn carries, as a TFDS data set: real images without any download.

1,797 images of 8x8 pixels with 17 grey levels (0 to 16), written by 43 people. The test split is every sixth image, so
that both splits hold every writer and every digit.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data.sets import embedded

TEST_EVERY = 6


class Digits(tfds.core.GeneratorBasedBuilder):
    """TFDS builder: `image` [8, 8, 1] uint8 of levels 0 to 16, `label` 0 to 9; 1,497 train and 300 test examples."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (the name and kind that TFDS reads)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8, encoding="bytes"),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits, 8x8 pixels, 17 grey levels.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://archive.ics.uci.edu/dataset/80",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {"train": self._generate_examples(test=False), "test": self._generate_examples(test=True)}

    def _generate_examples(self, test: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        from sklearn.datasets import load_digits  # one second to import, needed once in the life of a data directory

        digits = load_digits()
        for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            if (index % TEST_EVERY == 0) == test:
                yield index, {"image": image.astype(np.uint8)[..., None], "label": int(label)}


def prepare(data_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """The prepared builder in `data_dir`; see `data.sets.embedded.prepare`."""
    return embedded.prepare(Digits, data_dir)
