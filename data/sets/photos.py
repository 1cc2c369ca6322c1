"""Crops of the two photographs that scikit-learn carries, as a TFDS data set: real colour images without any download.

32x32 RGB crops at every eighth pixel of a Chinese temple and of a flower, 640x427 pixels each. The test split is the
crops that lie wholly in the right fifth of a photograph; crops that reach into it are in neither split, so that no
training image shares a pixel with a test image.

Source: "china.jpg" (Max Braun, CC BY 2.0) and "flower.jpg" (dany13, CC BY 2.0), through scikit-learn.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data.sets import embedded

SIZE, STRIDE = 32, 8
PHOTOGRAPHS = ("china", "flower")


class Photos(tfds.core.GeneratorBasedBuilder):
    """TFDS builder: `image` [32, 32, 3] uint8, `label` 0 (china) or 1 (flower); 6,100 train and 1,300 test examples."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (the name and kind that TFDS reads)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(shape=(SIZE, SIZE, 3), dtype=np.uint8, encoding="bytes"),
            "label": tfds.features.ClassLabel(names=PHOTOGRAPHS),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Crops of two photographs, 32x32 pixels, RGB.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://scikit-learn.org/stable/datasets/loading_other_datasets.html",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {"train": self._generate_examples(test=False), "test": self._generate_examples(test=True)}

    def _generate_examples(self, test: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        from sklearn.datasets import load_sample_image  # one second to import, needed once in a data directory's life

        for label, name in enumerate(PHOTOGRAPHS):
            photograph = load_sample_image(f"{name}.jpg")
            height, width, _ = photograph.shape
            border = width - width // 5  # the right fifth begins here
            for top in range(0, height - SIZE + 1, STRIDE):
                for left in range(0, width - SIZE + 1, STRIDE):
                    if left >= border if test else left + SIZE <= border:
                        crop = photograph[top : top + SIZE, left : left + SIZE]
                        yield f"{name}_{top}_{left}", {"image": np.ascontiguousarray(crop), "label": label}


def prepare(data_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """The prepared builder in `data_dir`; see `data.sets.embedded.prepare`."""
    return embedded.prepare(Photos, data_dir)
