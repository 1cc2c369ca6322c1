"""The breast cancer data that scikit-learn includes: real vectors without any download.

30 measurements of cell nuclei in each of 569 images of tissue, as floats: zero mean and unit standard deviation in the
train split. The label is 0 (malignant) or 1 (benign). The test split is every sixth example.

Source: W. Wolberg, O. Mangasarian, N. Street and W. Street, "Breast Cancer Wisconsin (Diagnostic)", UCI Machine
Learning Repository, 1993; CC BY 4.0.
"""

import numpy as np

from data.sets.order import shuffled
from data.source import Source, from_arrays, in_split

TEST_EVERY = 6
NUM_FEATURES = 30


def source(split: str) -> Source:
    """Vectors [30] float32 with label 0 or 1: 474 in the train split, 95 in the test split."""
    from sklearn.datasets import load_breast_cancer  # slow to import

    tumors = load_breast_cancer()
    training = tumors.data[in_split(len(tumors.data), "train", TEST_EVERY)]
    chosen = in_split(len(tumors.data), split, TEST_EVERY)
    chosen = chosen[shuffled(split, chosen)]
    values = ((tumors.data[chosen] - training.mean(0)) / training.std(0)).astype(np.float32)
    return from_arrays("tumors", values, tumors.target[chosen], num_levels=0, num_classes=2)
