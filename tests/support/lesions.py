"""Random images of the kind of `tests.support.runs.tiny`, with anomalies and a field that says where they are."""

import numpy as np

from data.source import Source, from_arrays


def source(split: str) -> Source:
    """Twelve images [8, 8, 3], each with a bright square."""
    x = np.random.default_rng(len(split)).integers(0, 128, (12, 8, 8, 3), np.uint8)
    lesion = np.zeros_like(x)
    for number in range(12):
        lesion[number, number % 6 : number % 6 + 2, 3:5] = 1
    return from_arrays("lesions", np.where(lesion, np.uint8(255), x), others={"lesion": lesion})
