"""Carbon dioxide at Mauna Loa, as a TFDS data set: a real series, whose table of 34 kB lies beside this file.

Weekly means in ppm from March 1958 to December 2001, a few weeks interpolated, in windows of 64 weeks at every offset.
A value is relative to the mean of the 52 weeks before its window, so that a window shows the season and the growth of a
year, at whatever level, in steps of 0.1 ppm, the resolution of the measurements: level 64 is no difference. The first
four fifths of the weeks are for training, the rest for testing: no week is in both splits, nor in the 52 before a test
window.

Source: C. D. Keeling and T. P. Whorf, "Atmospheric CO2 concentrations derived from flask air samples at sites in the
SIO network", Carbon Dioxide Information Analysis Center, 2004; in the public domain. The table is statsmodels' co2.csv,
whose package, of 24 MB with what it needs, would have come for this one file.
"""

import csv
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data.sets import embedded

TABLE = pathlib.Path(__file__).with_name("co2.csv")
WEEKS, BEFORE = 64, 52  # of a window, and of the time whose mean is its zero
NUM_LEVELS, ZERO, STEP_PPM = 160, 64, 0.1
TRAINING_SHARE = 0.8


def series() -> np.ndarray:
    """The weekly means in ppm, [2284], missing weeks interpolated linearly."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        values = np.array([float(row["co2"] or "nan") for row in csv.DictReader(file)])
    weeks, known = np.arange(len(values)), np.isfinite(values)
    return np.interp(weeks, weeks[known], values[known])


def windows(test: bool) -> Iterator[tuple[int, np.ndarray]]:
    """The number of its first week and the levels [WEEKS] uint8 of every window of a split."""
    values = series()
    border = int(TRAINING_SHARE * len(values))
    first, end = (border, len(values)) if test else (0, border)
    for start in range(first + BEFORE, end - WEEKS + 1):
        difference = values[start : start + WEEKS] - values[start - BEFORE : start].mean()
        yield start, (np.round(difference / STEP_PPM) + ZERO).astype(np.uint8)


class CO2(tfds.core.GeneratorBasedBuilder):
    """TFDS builder: `series` [64, 1] uint8 of levels 0 to 159, `label` 0; 1,712 train and 342 test examples."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (the name and kind that TFDS reads)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "series": tfds.features.Tensor(shape=(WEEKS, 1), dtype=np.uint8, encoding="bytes"),
            "label": tfds.features.ClassLabel(num_classes=1),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Weekly means of carbon dioxide at Mauna Loa, in windows of 64 weeks.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://scrippsco2.ucsd.edu",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {"train": self._generate_examples(test=False), "test": self._generate_examples(test=True)}

    def _generate_examples(self, test: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        for start, levels in windows(test):
            yield start, {"series": levels[:, None], "label": 0}


def prepare(data_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """The prepared builder in `data_dir`; see `data.sets.embedded.prepare`."""
    return embedded.prepare(CO2, data_dir)
