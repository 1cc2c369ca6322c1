"""The order in which the embedded data sets keep their examples: fixed, and without any pattern."""

import hashlib
from collections.abc import Sequence

import numpy as np


def shuffled(split: str, keys: Sequence[int | str] | np.ndarray) -> np.ndarray:
    """Indices [n] that sort `keys` by the MD5 of the split's name and the key.

    Batches depend on this order, so runs are reproducible only as long as it stays. It is the order of TensorFlow
    Datasets, which stored these data sets at first.
    """

    def digest(index: int) -> bytes:
        return hashlib.md5(f"{split}{keys[index]}".encode(), usedforsecurity=False).digest()

    return np.array(sorted(range(len(keys)), key=digest))
