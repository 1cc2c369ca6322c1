"""Crops of the two photographs that scikit-learn includes: real color images without any download.

32x32 RGB crops at every eighth pixel of a Chinese temple and of a flower, 640x427 pixels each. The test split is the
crops that lie entirely in the right fifth of a photograph; crops that straddle its border are in neither split, so no
training image shares a pixel with a test image.

Source: "china.jpg" (Max Braun, CC BY 2.0) and "flower.jpg" (dany13, CC BY 2.0), through scikit-learn.
"""

from collections.abc import Iterator

import numpy as np

from data.sets.order import shuffled
from data.source import Source, from_arrays

SIZE, STRIDE = 32, 8
PHOTOGRAPHS = ("china", "flower")


def source(split: str) -> Source:
    """Images [32, 32, 3] with label 0 (china) or 1 (flower): 6,100 in the train split, 1,300 in the test split."""
    keys, images, labels = zip(*_crops(split), strict=True)
    chosen = shuffled(split, keys)
    return from_arrays("photos", np.stack(images)[chosen], np.array(labels)[chosen], num_classes=len(PHOTOGRAPHS))


def _crops(split: str) -> Iterator[tuple[str, np.ndarray, int]]:
    """(key, crop, label) of every crop of a split."""
    from sklearn.datasets import load_sample_image  # slow to import

    for label, name in enumerate(PHOTOGRAPHS):
        photograph = load_sample_image(f"{name}.jpg")
        height, width, _ = photograph.shape
        border = width - width // 5  # the right fifth begins here
        for top in range(0, height - SIZE + 1, STRIDE):
            for left in range(0, width - SIZE + 1, STRIDE):
                if left >= border if split == "test" else left + SIZE <= border:
                    yield f"{name}_{top}_{left}", photograph[top : top + SIZE, left : left + SIZE], label
