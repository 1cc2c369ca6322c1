"""CIFAR-10 from its own archive: `cifar-10-python.tar.gz`, `cifar-10-binary.tar.gz`, or the folder in them.

The Python batches are pickles. They are read by `core.pickles` with only the names that NumPy arrays need, so that
nothing in a file is executed; anything else in it is refused. The binary batches are rows of a label and 3,072
pixels, plane by plane.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and the page of the data set.
"""

import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from core.files import size_of
from core.pickled_arrays import NAMES
from core.pickles import loads
from core.reading import MODEST, UnreadableError, read_part, tar_members, unpacked
from data.source import Reading, Source, from_arrays

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_PIXELS = 3 * 32 * 32
_MAX_BATCH = 2**26  # bytes; twice the largest


def open_cifar10(given: str, split: str, reading: Reading) -> Source:
    """The train (50,000 images) or test split (10,000). Errors: FileNotFoundError, ValueError that name the file."""
    del reading  # there is nothing to choose
    path = pathlib.Path(given)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; config.data.dataset = 'cifar10:PATH' names cifar-10-python.tar.gz, "
            "cifar-10-binary.tar.gz, or the folder in them."
        )
    info = path.stat()
    images, labels = _read(path, split, info.st_mtime_ns)
    return from_arrays(f"cifar10:{given}", images, labels, num_classes=len(CLASSES), class_names=CLASSES)


@functools.lru_cache(maxsize=4)
def _read(path: pathlib.Path, split: str, mtime_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3] uint8 and labels [N] of a split."""
    del mtime_ns  # so that a changed file is read again
    found = dict(_contents(path, split))
    missing = [name for name in BATCHES[split] if name not in found]
    if missing:
        raise ValueError(f"{path} has no {missing[0]}; give CIFAR-10's own archive, or the folder in it.")
    parts = [_batch(path, name, *found[name]) for name in BATCHES[split]]
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    return images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), labels


def _contents(path: pathlib.Path, split: str) -> Iterator[tuple[str, tuple[bytes, bool]]]:
    """(name of a batch, (its bytes, whether it is binary)) of the batches of a split that exist."""
    if path.is_dir():
        inner = [folder for folder in path.glob("cifar-10-batches-*") if folder.is_dir()]
        for batch in sorted((inner or [path])[0].iterdir()):
            if batch.stem in BATCHES[split]:
                yield batch.stem, (_content(batch), batch.suffix == ".bin")
        return
    try:
        with unpacked(path) as archive:
            for member in tar_members(archive, MODEST):
                name = pathlib.PurePosixPath(member.name)
                if name.stem in BATCHES[split]:
                    content = read_part(archive, member.offset_data, member.size, _MAX_BATCH)
                    yield name.stem, (content, name.suffix == ".bin")
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read as an archive ({error}); download it again.") from error


def _content(path: pathlib.Path) -> bytes:
    """A batch. Errors: ValueError for what is none."""
    try:
        if (size := size_of(path)) > _MAX_BATCH:
            raise ValueError(f"{path} has {size:,} bytes, and a batch of CIFAR-10 31 million; download it again.")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); download it again.") from error


def _batch(path: pathlib.Path, name: str, content: bytes, is_binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [n, 3072] uint8 and labels [n] of a batch."""
    if is_binary:
        if not content or len(content) % (1 + _PIXELS):
            raise ValueError(
                f"{name}.bin of {path} has {len(content)} bytes, not rows of {1 + _PIXELS}; it is cut off."
            )
        rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
        return _checked(path, name, rows[:, 1:], rows[:, 0])
    try:
        batch = loads(content, NAMES)
        pixels, labels = batch[b"data"], _labels(batch[b"labels"])
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{name} of {path} cannot be read ({error}); download it again.") from error
    return _checked(path, name, pixels, labels)


def _labels(found: Any) -> np.ndarray:
    """Labels [n] int64 of a list. Errors: ValueError; before anything is built of what is no list of classes."""
    values = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(values, list) or any(type(value) is not int or not 0 <= value < 2**8 for value in values):
        raise ValueError("its labels are no list of classes")
    return np.array(values, np.int64)


def _checked(path: pathlib.Path, name: str, pixels: Any, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    is_array = isinstance(pixels, np.ndarray)
    good = is_array and pixels.dtype == np.uint8 and pixels.ndim == 2 and pixels.shape[1] == _PIXELS
    if not good or labels.shape != (len(pixels),) or not np.isin(labels, range(len(CLASSES))).all():
        found = f"{pixels.dtype} {pixels.shape}" if is_array else f"a {type(pixels).__name__}"
        raise ValueError(f"{name} of {path} contains {found} with labels {labels.shape}, not CIFAR-10 images.")
    return pixels, labels.astype(np.int32)
