"""The peak signal-to-noise ratio of restored examples."""

import numpy as np

from evaluation.metrics.base import Inputs, Metric, column, mean_over_examples, per_example
from reports.records import Estimate


def psnr_db(restored: np.ndarray, truth: np.ndarray, value_range: float | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio `-10 log10 mean ((restored - truth) / range)^2` of each example [N], in decibels.

    Without a range, values are in [0, 1], and restored ones are clipped to it; a `value_range` is that of unbounded
    data. At most 100.
    """
    found = np.clip(restored, 0, 1) if value_range is None else restored
    error = per_example((found - truth).astype(np.float64) ** 2)
    return -10 * np.log10(np.maximum(error / (value_range or 1.0) ** 2, 1e-10))


def _psnr(given: Inputs) -> dict[str, Estimate]:
    assert given.pairs is not None  # it is among the needs
    return {"psnr": mean_over_examples(psnr_db(*given.pairs))}


PSNR = Metric(_psnr, ("pairs",), 1, column("PSNR / dB", "higher"))
