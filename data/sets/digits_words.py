"""scikit-learn's digits with a text of three words: which digit it is, its parity, and the weight of its strokes.

    "seven odd thick"

A stroke of width w and length l has the area w l and an outline of length 2 l, so that

    stroke width = 2 sum(I) / (sum |dI/dx| + sum |dI/dy|),    I in [0, 1], surrounded by zeros.

A digit is "thick" where its strokes are wider than those of half of the training images, otherwise "thin".
"""

import dataclasses
import functools

import numpy as np

from data.sets import digits
from data.source import Examples, Source
from data.vocabulary import TEXT, Vocabulary

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PARITIES, WEIGHTS = ("even", "odd"), ("thin", "thick")
VOCABULARY = Vocabulary((*CLASSES, *PARITIES, *WEIGHTS))
LENGTH = 3


def source(split: str) -> Source:
    """The images, labels and splits of `digits`, with the field "text" of three tokens."""
    images = digits.source(split)
    x, label = (images.fetch(np.arange(len(images)))[name] for name in ("x", "label"))
    texts = tokens(label, stroke_width(x) > typical_width())

    def fetch(indices: np.ndarray) -> Examples:
        return {"x": x[indices], "label": label[indices], TEXT: texts[indices]}

    fields = {**images.fields, TEXT: VOCABULARY.field(LENGTH)}
    fields["label"] = dataclasses.replace(fields["label"], class_names=CLASSES)
    return Source("digits_words", len(images), fields, fetch)


def one_word(split: str) -> Source:
    """The same with a text of one word, the digit, which therefore says what the label says."""
    words = Vocabulary(CLASSES)
    whole = source(split)

    def fetch(indices: np.ndarray) -> Examples:
        found = whole.fetch(indices)
        return {**found, TEXT: found[TEXT][:, :1]}

    return dataclasses.replace(
        whole, name="digits_one_word", fields={**whole.fields, TEXT: words.field(1)}, fetch=fetch
    )


def stroke_width(levels: np.ndarray) -> np.ndarray:
    """The width [N] of the strokes of images [N, 8, 8, 1] of levels, in pixels."""
    ink = np.pad(levels[..., 0].astype(np.float64) / (digits.NUM_LEVELS - 1), [(0, 0), (1, 1), (1, 1)])
    outline = sum(np.abs(np.diff(ink, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2))
    return 2 * ink.sum(axis=(1, 2)) / np.maximum(outline, 1e-6)


@functools.cache
def typical_width() -> float:
    """The median width of the strokes of training images."""
    train = digits.source("train")
    return float(np.median(stroke_width(train.fetch(np.arange(len(train)))["x"])))


def tokens(label: np.ndarray, is_thick: np.ndarray) -> np.ndarray:
    """The texts [N, 3] of digits [N]."""
    first = 1 + np.stack([label, len(CLASSES) + label % 2, len(CLASSES) + 2 + is_thick], axis=1)
    return first.astype(VOCABULARY.field(LENGTH).dtype)
