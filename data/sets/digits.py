"""The handwritten digits that scikit-learn includes: real images without any download.

1,797 images of 8x8 pixels with 17 gray levels (0 to 16), written by 43 people. The test split is every sixth image, so
that both splits contain every writer and every digit.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import numpy as np

from data.sets.order import shuffled
from data.source import Source, from_arrays, in_split

TEST_EVERY = 6
NUM_LEVELS = 17


def source(split: str) -> Source:
    """Images [8, 8, 1] of levels 0 to 16 with labels 0 to 9: 1,497 in the train split, 300 in the test split."""
    from sklearn.datasets import load_digits  # slow to import

    digits = load_digits()
    chosen = in_split(len(digits.images), split, TEST_EVERY)
    chosen = chosen[shuffled(split, chosen)]
    images = digits.images[chosen].astype(np.uint8)[..., None]
    return from_arrays("digits", images, digits.target[chosen], num_levels=NUM_LEVELS, num_classes=10)
