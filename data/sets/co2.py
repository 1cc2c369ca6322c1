"""Carbon dioxide at Mauna Loa: a real time series, whose table of 34 kB is included beside this file.

Weekly means in ppm from March 1958 to December 2001, a few weeks interpolated, in windows of 64 weeks at every offset.
A value is relative to the mean of the 52 weeks before its window, so that a window shows the seasons and the growth of
a year whatever the level, in steps of 0.1 ppm, the resolution of the measurements: level 64 is no difference. The first
four fifths of the weeks are the train split, the rest the test split: no week is in both, not even through the 52 weeks
before a test window.

Source: C. D. Keeling and T. P. Whorf, "Atmospheric CO2 concentrations derived from flask air samples at sites in the
SIO network", Carbon Dioxide Information Analysis Center, 2004; in the public domain. The table is co2.csv of the
statsmodels package, which would be 24 MB to install for this one file.
"""

import csv
import pathlib

import numpy as np

from data.sets.order import shuffled
from data.source import Source, from_arrays

TABLE = pathlib.Path(__file__).with_name("co2.csv")
WEEKS, BEFORE = 64, 52  # length of a window, and of the time before it whose mean is its zero
NUM_LEVELS, ZERO, STEP_PPM = 160, 64, 0.1
TRAINING_SHARE = 0.8


def source(split: str) -> Source:
    """Series [64, 1] of levels 0 to 159: 1,712 windows in the train split, 342 in the test split."""
    found = windows(split)
    starts, levels = np.array(list(found)), np.stack(list(found.values()))
    return from_arrays("co2", levels[shuffled(split, starts)][..., None], num_levels=NUM_LEVELS)


def series() -> np.ndarray:
    """The weekly means in ppm, [2284], missing weeks interpolated linearly."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        values = np.array([float(row["co2"] or "nan") for row in csv.DictReader(file)])
    weeks, known = np.arange(len(values)), np.isfinite(values)
    return np.interp(weeks, weeks[known], values[known])


def windows(split: str) -> dict[int, np.ndarray]:
    """The levels [WEEKS] uint8 of every window of a split, by the number of its first week."""
    values = series()
    border = int(TRAINING_SHARE * len(values))
    first, end = (border, len(values)) if split == "test" else (0, border)
    found = {}
    for start in range(first + BEFORE, end - WEEKS + 1):
        difference = values[start : start + WEEKS] - values[start - BEFORE : start].mean()
        found[start] = (np.round(difference / STEP_PPM) + ZERO).astype(np.uint8)
    return found
