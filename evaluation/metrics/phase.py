"""Complex images in two channels, the real and the imaginary part: their magnitudes and phases."""

import numpy as np

INSIDE = 0.1  # share of the largest magnitude of an example from which its phase counts


def magnitude(x: np.ndarray) -> np.ndarray:
    """|x| of complex examples [..., 2]: [..., 1]."""
    return np.hypot(x[..., :1], x[..., 1:])


def phase_error(restored: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The mean `|arg(restored conj(truth))|` of each example [N, ..., 2] in radians, inside the object: [N].

    Inside is where the magnitude of the truth is a tenth of its largest value or more. A random phase has pi / 2.
    """
    found, true = (x[..., 0] + 1j * x[..., 1] for x in (restored, truth))
    size = np.abs(true).reshape(len(true), -1)
    inside = size >= INSIDE * size.max(axis=1, keepdims=True)
    error = np.abs(np.angle(found * true.conj())).reshape(len(true), -1)
    return (error * inside).sum(axis=1) / inside.sum(axis=1)
