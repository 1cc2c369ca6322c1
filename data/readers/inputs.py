"""Images, arrays and masks that are given as input of the sampling tasks."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from core.array_files import is_npz, read_npy, read_npz
from core.reading import UnreadableError
from core.text import first_line
from data.decoders import ERRORS, MAX_PIXELS, SUFFIXES
from data.images import ARRAY_SUFFIXES, BACKGROUND, Format, central_box, decode, read_header
from data.notices import some_of, warn_once
from data.readers.scans import SCANS, is_hdf5, is_scan, read_hdf5, read_scan, scaled

Rule = str | Callable[[np.ndarray, int], np.ndarray] | None  # "crop", "stretch", or (image, size) -> resized


def read_examples(
    path: pathlib.Path,
    shape: Sequence[int],
    num_levels: int,
    resize: Rule = None,
    background: str = BACKGROUND,
    max_pixels: int = MAX_PIXELS,
) -> tuple[list[str], np.ndarray]:
    """Names [N] and examples [N, *shape] of a file, or of all files directly in a folder that are not hidden.

    An image file is read as for training: upright, gray or RGB as C says, of 8 or 16 bits, with its range of values
    mapped to `num_levels` levels, and resized to `shape` by the rule of training, `resize`, if there is one. An array
    contains levels, or floats if `num_levels` is 0, as [N, *shape] or as one example of that shape.
    Errors: ValueError that names a file that is missing, unreadable, or of another shape or type.
    """
    names, examples = [], []
    for file in _files(path):
        if is_scan(file):
            found = _scan(file, shape, num_levels)
        elif file.suffix.lower() in ARRAY_SUFFIXES:
            found = _levels(file, shape, num_levels)
        else:
            found = _image(file, shape, num_levels, resize, background, max_pixels)
        names += [file.stem] if len(found) == 1 else [f"{file.stem} {i}" for i in range(len(found))]
        examples.append(found)
    return names, np.concatenate(examples)


def read_array(path: pathlib.Path, name: str = "arr_0") -> np.ndarray:
    """The array of an .npy file, or the only one, or the one called `name`, of an .npz or HDF5 file.

    Errors: ValueError.
    """
    if is_hdf5(path):
        return read_hdf5(path, name)
    try:
        if not is_npz(path):
            return read_npy(path)
        found = read_npz(path)
        if name not in found and len(found) != 1:
            what = some_of(list(found)) or "nothing"
            raise UnreadableError(f"it contains {what}; give one array, or one called {name}")
        return found[name] if name in found else next(iter(found.values()))
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from error


def read_mask(
    path: pathlib.Path, shape: Sequence[int], resize: str | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The mask of known entries, bool [*sides, 1]: where an image is not black or an array not zero.

    shape: (*sides, C) of the examples; a mask of this shape, for each channel, is kept, as is that of a vector (D,).
    resize: the rule by which an image of another size is cropped and resized, as the input is, to the nearest pixel.
    Errors: ValueError that names a file that is unreadable or of another shape.
    """
    sides = tuple(shape[:-1]) or tuple(shape)
    if not path.is_file():
        raise ValueError(f"the mask {path} {_absent(path)}; give an image, or an .npy or .npz file.")
    if path.suffix.lower() in ARRAY_SUFFIXES:
        values = read_array(path)
    else:
        values = _pixels(path, 1, 0, None, None, "black", max_pixels)[..., 0]
        if resize and values.shape != sides:
            values = _nearest(values, sides[0], sides[1], resize)
    if len(shape) > 1 and values.shape == sides:
        values = values[..., None]
    if values.shape not in (tuple(shape), (*shape[:-1], 1) if len(shape) > 1 else sides):
        what = "images are" if len(sides) == 2 else "examples have"
        raise ValueError(f"the mask {path} has shape {values.shape}, but the {what} {'x'.join(map(str, sides))}.")
    return values != 0


def _absent(path: pathlib.Path) -> str:
    return "is not a file" if path.exists() else "does not exist"


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"the input {path} {_absent(path)}; give an image, an .npy or .npz file, or a folder of them.")
    shown = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    endings = SUFFIXES + ARRAY_SUFFIXES + SCANS
    files = [file for file in shown if file.name.lower().endswith(endings) and file.is_file()]
    if not files:
        raise ValueError(f"the folder {path} has no {', '.join(endings)} file.")
    if others := [file.name for file in shown if file not in files]:
        warn_once(f"{some_of(others)} of {path} are no images or arrays (left out)")
    return files


def _image(
    path: pathlib.Path, shape: Sequence[int], num_levels: int, resize: Rule, background: str, max_pixels: int
) -> np.ndarray:
    """One example [1, *shape] of an image file."""
    if not num_levels or len(shape) != 3:
        raise ValueError(f"{path} is an image, but the data are not images with levels; give .npy or .npz.")
    size = shape[0], shape[1]
    rule = resize if isinstance(resize, str) else None
    pixels = _pixels(path, shape[-1], num_levels, size if rule else None, rule, background, max_pixels)
    if callable(resize) and pixels.shape[:2] != size:
        pixels = _by(resize, path, pixels, shape[0])
    if pixels.shape != tuple(shape):
        height, width, _ = pixels.shape
        raise ValueError(
            f"{path} is {height}x{width}, but images of {shape[0]}x{shape[1]} are needed; resize it first, or set "
            "config.data.resize to crop or stretch."
        )
    factor = (num_levels - 1) / np.iinfo(pixels.dtype).max
    return np.round(pixels.astype(np.float32) * factor).astype(_dtype(num_levels))[None]


def _by(
    resize: Callable[[np.ndarray, int], np.ndarray], path: pathlib.Path, pixels: np.ndarray, size: int
) -> np.ndarray:
    try:
        return resize(pixels, size)
    except ValueError as error:
        raise ValueError(f"{path} cannot be resized as in training: {error}.") from error


def _nearest(values: np.ndarray, height: int, width: int, rule: str) -> np.ndarray:
    """A mask [H, W] cropped by the rule and resized to the nearest pixel."""
    left, top, right, bottom = central_box(values.shape[0], values.shape[1], height, width, rule)
    rows = top + (2 * np.arange(height) + 1) * (bottom - top) // (2 * height)
    columns = left + (2 * np.arange(width) + 1) * (right - left) // (2 * width)
    return values[np.ix_(rows, columns)]


def _pixels(
    path: pathlib.Path,
    channels: int,
    num_levels: int,
    size: tuple[int, int] | None,
    rule: str | None,
    background: str,
    max_pixels: int,
) -> np.ndarray:
    """The pixels [H, W, channels] uint8 or uint16 of an image file, in its own size unless it is resized."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is not a file that can be read; use {', '.join(SUFFIXES + ARRAY_SUFFIXES)}.")
    if channels not in (1, 3):
        raise ValueError(f"{path} is an image, with 1 or 3 channels, but {channels} are needed; use .npy or .npz.")
    try:
        with path.open("rb") as raw:
            header = read_header(raw, max_pixels)
            height, width = size or (header.height, header.width)
            dtype = "uint16" if num_levels > 2**8 else header.dtype
            return decode(raw, Format(height, width, channels, dtype, rule, background), max_pixels)
    except ERRORS as error:
        raise ValueError(f"{path} cannot be read as an image: {first_line(error)}") from error


def _levels(path: pathlib.Path, shape: Sequence[int], num_levels: int) -> np.ndarray:
    """Examples [N, *shape] of a file of arrays."""
    values = read_array(path)
    values = values[None] if values.ndim == len(shape) else values
    kind, what = (np.integer, "levels, integers") if num_levels else (np.floating, "floats")
    if values.shape[1:] != tuple(shape) or not len(values) or not np.issubdtype(values.dtype, kind):
        raise ValueError(
            f"{path} contains {values.dtype} {values.shape}, but {what} [N, {', '.join(map(str, shape))}], are needed."
        )
    if not num_levels:
        return values.astype(np.float32)
    if values.min() < 0 or values.max() >= num_levels:
        raise ValueError(
            f"{path} has levels from {values.min()} to {values.max()}, but the data have 0 to {num_levels - 1}."
        )
    return values.astype(_dtype(num_levels))


def _scan(path: pathlib.Path, shape: Sequence[int], num_levels: int) -> np.ndarray:
    """Slices [N, H, W, 1], or a volume [1, D, H, W, 1], of a NIfTI or DICOM file; see `data.readers.scans`."""
    values = read_scan(path)
    found = values[..., None] if values.ndim == 3 else values[None, ..., None]
    found = found[None] if len(shape) == 4 else found
    if found.shape[1:] != tuple(shape):
        wanted = "x".join(map(str, shape[:-1]))
        raise ValueError(
            f"{path} is {'x'.join(map(str, values.shape))}, but "
            f"{'volumes' if len(shape) == 4 else 'slices'} of {wanted} with {shape[-1]} channel(s) are needed; crop or "
            "resample it first."
        )
    return scaled(path, found, num_levels) if num_levels else found


def _dtype(num_levels: int) -> type:
    return np.uint8 if num_levels <= 2**8 else np.uint16
