"""Images and arrays that a user gives as files: PNG, JPEG, WebP, NumPy's .npy and .npz; nothing in them is executed."""

import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
ARRAYS = (".npy", ".npz")


def read_images(path: pathlib.Path, shape: Sequence[int], num_levels: int) -> tuple[list[str], np.ndarray]:
    """Names [N] and examples [N, *shape] of a file, or of all files right in a folder.

    A picture is read as grey or RGB, as C says, and its 256 shades become `num_levels` levels; an array holds levels,
    or floats where `num_levels` is 0, [N, *shape] or of that shape.
    Errors: ValueError that names the file which is not there, not readable, or of another shape or type.
    """
    files = _files(path)
    names, images = [], []
    for file in files:
        found = _levels(file, shape, num_levels) if file.suffix.lower() in ARRAYS else _picture(file, shape, num_levels)
        names += [file.stem] if len(found) == 1 else [f"{file.stem} {i}" for i in range(len(found))]
        images.append(found)
    return names, np.concatenate(images)


def read_array(path: pathlib.Path, name: str = "arr_0") -> np.ndarray:
    """The array of an .npy file, or the only one, or the one called `name`, of an .npz file. Errors: ValueError."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if name not in loaded.files and len(loaded.files) != 1:
                raise ValueError(f"it holds {', '.join(loaded.files)}; give one array, or one called {name}")
            return loaded[name if name in loaded.files else loaded.files[0]]
    except (OSError, ValueError, EOFError, KeyError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as an array: {_reason(error)}") from error


def read_mask(path: pathlib.Path, shape: Sequence[int]) -> np.ndarray:
    """What is known: bool [H, W, 1], where a picture is not black or an array not zero, of `shape` = (H, W, C).

    Errors: ValueError that names the file which is not readable, or of another shape.
    """
    height, width = shape[:2]
    if not path.is_file():
        raise ValueError(f"the mask {path} does not exist.")
    values = read_array(path) if path.suffix.lower() in ARRAYS else _opened(path, 1)[..., 0]
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    if values.shape != (height, width):
        raise ValueError(f"the mask {path} has shape {values.shape}, but the images are {height}x{width}.")
    return values[..., None] != 0


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"the input {path} does not exist; give a picture, an .npy or .npz file, or a folder of them.")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES + ARRAYS)
    if not files:
        raise ValueError(f"the folder {path} has no {', '.join(PICTURES + ARRAYS)} file.")
    return files


def _picture(path: pathlib.Path, shape: Sequence[int], num_levels: int) -> np.ndarray:
    if not num_levels or len(shape) != 3:
        raise ValueError(f"{path} is a picture, but the data are no levels of images; give .npy or .npz.")
    shades = _opened(path, shape[-1])
    if shades.shape != tuple(shape):
        height, width, _ = shades.shape
        raise ValueError(
            f"{path} is {height}x{width}, but images of {shape[0]}x{shape[1]} are needed; resize it first."
        )
    return np.round(shades.astype(np.float32) * ((num_levels - 1) / 255)).astype(_type(num_levels))[None]


def _opened(path: pathlib.Path, channels: int) -> np.ndarray:
    """The shades [H, W, channels] uint8 of a picture."""
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"{path} is no picture that can be read; use one of {', '.join(PICTURES + ARRAYS)}.")
    if channels not in (1, 3):
        raise ValueError(
            f"{path} is a picture, which has 1 or 3 channels, but {channels} are needed; use .npy or .npz."
        )
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("L" if channels == 1 else "RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {_reason(error)}") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _levels(path: pathlib.Path, shape: Sequence[int], num_levels: int) -> np.ndarray:
    images = read_array(path)
    images = images[None] if images.ndim == len(shape) else images
    kind, what = (np.integer, "levels, integers") if num_levels else (np.floating, "floats")
    if images.shape[1:] != tuple(shape) or not len(images) or not np.issubdtype(images.dtype, kind):
        raise ValueError(
            f"{path} holds {images.dtype} {images.shape}, but {what} [N, {', '.join(map(str, shape))}], are needed."
        )
    if not num_levels:
        return images.astype(np.float32)
    if images.min() < 0 or images.max() >= num_levels:
        raise ValueError(
            f"{path} has levels from {images.min()} to {images.max()}, but the data have 0 to {num_levels - 1}."
        )
    return images.astype(_type(num_levels))


def _type(num_levels: int) -> type:
    return np.uint8 if num_levels <= 2**8 else np.uint16


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
