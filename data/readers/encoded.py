"""Tokens or latents of a data set, as `--mode=encode` writes them: `encoded:FOLDER`.

The folder has `train.npy` and `test.npy` [N, ...], their labels `train_labels.npy` and `test_labels.npy` [N], and
`encoded.json`: the shape of a code, the number of codes (0 for latents), the number of classes, statistics, the name of
the data set, and the SHA-256 of the tokenizer's weights.
"""

import pathlib
from typing import Any

import numpy as np

from core.array_files import read_npy
from core.files import read_json
from core.reading import UnreadableError
from data.fields import Field, labeled
from data.readers.arrays import Rows
from data.source import Reading, Source

FORM = "encoded"
ABOUT = "encoded.json"
_MAX_RANK = 8


def field(num_codes: int, shape: tuple[int, ...]) -> Field:
    """What codes are: tokens below `num_codes`, or latents, where it is 0."""
    dtype = (
        "float32" if not num_codes else "uint8" if num_codes <= 2**8 else "uint16" if num_codes <= 2**16 else "int32"
    )
    return Field(shape, dtype, num_codes)


def read_about(folder: pathlib.Path) -> dict[str, Any]:
    """What `encoded.json` says. Errors: ValueError where it is missing or damaged."""
    try:
        found = read_json(folder / ABOUT)
        shape, numbers = found["shape"], (found["num_codes"], found["num_classes"])
        if not isinstance(shape, list) or len(shape) > _MAX_RANK or any(type(n) is not int or n < 0 for n in shape):
            raise TypeError("shape")
        if any(type(n) is not int or not 0 <= n < 2**31 for n in numbers):
            raise TypeError("numbers")
        return found | {"shape": tuple(shape)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} has no readable {ABOUT} ({type(error).__name__}); config.data.dataset = '{FORM}:FOLDER' names a "
            "folder that --mode=encode wrote."
        ) from error


def open_encoded(given: str, split: str, reading: Reading) -> Source:
    """A split of such a folder. Errors: ValueError that names the folder or the file."""
    folder = pathlib.Path(given)
    about = read_about(folder)
    codes, labels = _array(folder / f"{split}.npy"), _array(folder / f"{split}_labels.npy")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{folder / split}_labels.npy has {labels.dtype} {labels.shape}; encode the data again.")
    if labels.size and not 0 <= labels.min() <= labels.max() < max(about["num_classes"], 1):
        raise ValueError(
            f"{folder / split}_labels.npy has labels from {labels.min()} to {labels.max()}, but {ABOUT} says "
            f"{about['num_classes']} classes; encode the data again."
        )
    x = field(about["num_codes"], about["shape"])
    if codes.shape != (len(labels), *x.shape) or codes.dtype != x.dtype or not len(codes):
        raise ValueError(
            f"{folder / split}.npy has {codes.dtype} {codes.shape} with {len(labels)} labels, but {ABOUT} says "
            f"{x.dtype} [N, {', '.join(map(str, x.shape))}]; encode the data again."
        )
    fields = labeled(x, about["num_classes"])
    fetch = Rows(f"{FORM}:{given}", codes, {"label": labels.astype(np.int32)}, np.arange(len(codes)), x)
    return Source(f"{FORM}:{given}", len(codes), fields, fetch)


def _array(path: pathlib.Path) -> np.ndarray:
    """An .npy file, memory-mapped. Errors: ValueError."""
    try:
        return read_npy(path, mapped=True)
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read ({error}); encode the data again.") from error
