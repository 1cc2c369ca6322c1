"""Fan charts: what is known is seen, wherever it lies."""

import numpy as np

from reports.fans import Fan, fan_chart
from reports.plots import TEXT


def dark(values):
    """The number of pixels in the color of what is known, in a chart of values [12] from 0 to 1."""
    samples = np.tile(np.linspace(0, 1, 12), (3, 1))
    picture = fan_chart([Fan("a", values, samples, np.arange(-9, 3))])
    color = [int(TEXT[k : k + 2], 16) for k in (1, 3, 5)]
    return int((np.abs(picture.astype(int) - color).max(axis=-1) < 30).sum())


def test_known_values_between_missing_ones_are_seen():
    values = np.linspace(0, 1, 12)
    missing = np.full(12, np.nan)
    assert dark(np.where(np.arange(12) % 2, missing, values)) > dark(missing) + 6 * 10
