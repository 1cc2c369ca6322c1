"""Soft ellipsoids in a cube, as a TFDS data set: volumes without any download, each a function of its number.

16x16x16 voxels with 16 levels: one to three ellipsoids, whose centres, half-axes and directions are random, and which
are bright inside, dark outside, with a soft surface; where two of them meet, the brighter one is seen.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data.sets import embedded

SIZE, NUM_LEVELS = 16, 16
NUM_TRAIN, NUM_TEST = 2000, 200
SOFTNESS = 0.12  # width of the surface, in units of the half-axes


def volume(stream: int, number: int) -> np.ndarray:
    """Example `number` of the split `stream` (0 train, 1 test): levels [16, 16, 16, 1] uint8."""
    draw = np.random.default_rng([stream, number])
    axis = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    brightness = np.zeros((SIZE,) * 3)
    for _ in range(draw.integers(1, 4)):
        centre, half_axes = draw.uniform(-0.25, 0.25, 3), draw.uniform(0.1, 0.3, 3)
        directions, _ = np.linalg.qr(draw.standard_normal((3, 3)))
        radius = np.linalg.norm((places - centre) @ directions / half_axes, axis=-1)
        brightness = np.maximum(brightness, 1 / (1 + np.exp((radius - 1) / SOFTNESS)))
    return np.round((NUM_LEVELS - 1) * brightness).astype(np.uint8)[..., None]


class Blobs(tfds.core.GeneratorBasedBuilder):
    """TFDS builder: `volume` [16, 16, 16, 1] uint8 of levels 0 to 15, `label` 0; 2,000 train and 200 test examples."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (the name and kind that TFDS reads)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "volume": tfds.features.Tensor(shape=(SIZE, SIZE, SIZE, 1), dtype=np.uint8, encoding="bytes"),
            "label": tfds.features.ClassLabel(num_classes=1),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Random soft ellipsoids, 16x16x16 voxels.",
            features=tfds.features.FeaturesDict(features),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {"train": self._generate_examples(0, NUM_TRAIN), "test": self._generate_examples(1, NUM_TEST)}

    def _generate_examples(self, stream: int, num: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(num):
            yield number, {"volume": volume(stream, number), "label": 0}


def prepare(data_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """The prepared builder in `data_dir`; see `data.sets.embedded.prepare`."""
    return embedded.prepare(Blobs, data_dir)
