"""The structural similarity of restored images, series or volumes."""

import numpy as np
from scipy.ndimage import correlate1d

from evaluation.metrics.base import Inputs, Metric, column, mean_over_examples, per_example
from reports.records import Estimate

SIGMA, RADIUS = 1.5, 5  # the window: a Gaussian of 11 pixels along each axis
K1, K2 = 0.01, 0.03


def ssim(images: np.ndarray, truth: np.ndarray, value_range: float | None = None) -> np.ndarray:
    """The mean structural similarity of each example [N], at most 1, from local means m, variances v, covariance c:

        SSIM = (2 m_x m_y + C1) (2 c_xy + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2)),   C = (K range)^2

    images, truth: [N, ..., C], series, images or volumes, in [0, 1] without a `value_range`. Local means are those in a
    Gaussian window within the example; the result is the mean over windows and channels. Errors: ValueError for other
    shapes.
    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004, equation 13.

    Notes: examples of fewer than 11 pixels have a window of the largest odd number of pixels that fits.
    """
    if images.shape != truth.shape or not 3 <= images.ndim <= 5:
        raise ValueError(f"the similarity of {images.shape} and {truth.shape} was asked for; give two [N, ..., C]")
    x, y = (np.asarray(side, np.float64) for side in (images, truth))
    radius = min(RADIUS, *((side - 1) // 2 for side in x.shape[1:-1]))

    def local_mean(values: np.ndarray) -> np.ndarray:
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SIGMA) ** 2)
        for axis in range(1, values.ndim - 1):
            values = correlate1d(values, weights / weights.sum(), axis)
        inside = slice(radius, -radius or None)
        return values[(slice(None), *[inside] * (values.ndim - 2))]

    c1, c2 = ((k * (value_range or 1.0)) ** 2 for k in (K1, K2))
    m_x, m_y = local_mean(x), local_mean(y)
    v_x, v_y, c_xy = local_mean(x * x) - m_x**2, local_mean(y * y) - m_y**2, local_mean(x * y) - m_x * m_y
    return per_example((2 * m_x * m_y + c1) * (2 * c_xy + c2) / ((m_x**2 + m_y**2 + c1) * (v_x + v_y + c2)))


def _ssim(given: Inputs) -> dict[str, Estimate]:
    assert given.pairs is not None
    return {"ssim": mean_over_examples(ssim(*given.pairs))}


SSIM = Metric(_ssim, ("pairs",), 1, column("SSIM", "higher"))
