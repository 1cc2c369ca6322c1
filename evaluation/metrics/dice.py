"""The overlap of segmentations with the truth."""

import numpy as np


def dice(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`2 |found and truth| / (|found| + |truth|)` of the masks of each example, bool [N, ...]; 1 if both are empty.

    Source: Dice, "Measures of the Amount of Ecologic Association between Species", Ecology 26, 1945.
    """
    both, either = ((v.reshape(len(v), -1)).sum(axis=1) for v in (found & truth, found.astype(int) + truth))
    return np.where(either > 0, 2 * both / np.maximum(either, 1), 1.0)
