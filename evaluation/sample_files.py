"""Samples in the formats of other programs: `.npz` files with `arr_0`, and folders of PNG or JPEG files."""

import itertools
import os
import pathlib
import shutil
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from core.files import UNREADABLE, write_atomically

DTYPES = ("uint8", "uint16", "int32", "float32")  # levels, tokens, values
SUFFIXES = (".png", ".jpg", ".jpeg")


def read_batches(path: str | os.PathLike, batch_size: int) -> Iterator[np.ndarray]:
    """The images of an `.npz` file or of a folder, [B, H, W, C] uint8 with B = `batch_size` except in the last batch.

    An `.npz` file holds `arr_0` [N, H, W, C], C = 1 or 3, and is read in pieces. In a folder, all PNG and JPEG files
    below it are read, sorted by path; they are grayscale if the first one is, otherwise RGB. Nothing is executed.
    Errors: ValueError, one sentence that starts with the path of the file at fault.
    """
    if batch_size < 1:
        raise ValueError(f"batches of {batch_size} images were requested; use at least 1")
    path = pathlib.Path(path)
    if path.is_dir():
        return _read_folder(path, batch_size)
    if path.is_file() and path.suffix.lower() == ".npz":
        return _read_npz(path, batch_size)
    raise ValueError(f"{path} is neither a folder of {', '.join(SUFFIXES)} files nor an .npz file.")


def write_npz(path: str | os.PathLike, num: int, batches: Iterable[np.ndarray]) -> None:
    """Writes `num` examples, in batches [B, ...] of one dtype, as `arr_0` of an `.npz` file, one batch in memory.

    The bytes are those of `numpy.savez`. Errors: ValueError for a dtype that is not one of `DTYPES`, for
    scalars, for batches that differ in dtype or shape, and for another number of examples.
    """

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive, archive.open("arr_0.npy", "w", force_zip64=True) as member:
            written, form = 0, None
            for batch in batches:
                found = (batch.dtype, batch.shape[1:])
                if batch.ndim < 2 or batch.dtype not in DTYPES or form not in (None, found):
                    raise ValueError(
                        f"samples of {batch.dtype} {batch.shape} were given; a sample file takes "
                        f"{', '.join(DTYPES)} [B, ...], all of one dtype and shape"
                    )
                if form is None:
                    form = found
                    header = {"descr": batch.dtype.str, "fortran_order": False, "shape": (num, *batch.shape[1:])}
                    np.lib.format.write_array_header_1_0(member, header)
                member.write(batch.tobytes())
                written += len(batch)
            if written != num:
                raise ValueError(f"{written} samples were given for a file of {num}")

    write_atomically(pathlib.Path(path), write)


def write_png_folder(path: str | os.PathLike, batches: Iterable[np.ndarray]) -> int:
    """Writes images [B, H, W, 1 or 3] uint8 as `000000.png` ... in a new folder; returns their number.

    The folder appears when it is complete. Errors: FileExistsError; ValueError for other images.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; give another folder.")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir(parents=True)
    try:
        number = 0
        for batch in batches:
            if batch.ndim != 4 or batch.dtype != np.uint8 or batch.shape[-1] not in (1, 3):
                raise ValueError(f"images of {batch.dtype} {batch.shape} were given; use uint8 [B, H, W, 1 or 3]")
            for image in batch:
                pixels = image[..., 0] if image.shape[-1] == 1 else image
                Image.fromarray(pixels).save(temporary / f"{number:06d}.png")
                number += 1
        try:
            temporary.rename(path)
        except OSError as error:
            if path.exists():  # another process was first
                raise FileExistsError(f"{path} exists already; give another folder.") from error
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return number


def _read_folder(path: pathlib.Path, batch_size: int) -> Iterator[np.ndarray]:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"{path} contains no {', '.join(SUFFIXES)} file.")
    mode = "L" if _mode(files[0]) in ("1", "L") else "RGB"
    shape = _image(files[0], mode).shape
    remaining = iter(files)
    while chosen := list(itertools.islice(remaining, batch_size)):
        images = [_image(file, mode) for file in chosen]
        for file, image in zip(chosen, images, strict=True):
            if image.shape != shape:
                raise ValueError(f"{file} is {image.shape[0]}x{image.shape[1]}, but {files[0]} {shape[0]}x{shape[1]}.")
        yield np.stack(images)


def _mode(file: pathlib.Path) -> str:
    with _opened(file) as image:
        return image.mode


def _image(file: pathlib.Path, mode: str) -> np.ndarray:
    """One image, [H, W, C] uint8."""
    with _opened(file) as image:
        if image.mode not in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK"):
            raise ValueError(f"{file} has the mode {image.mode}; expected 8 bits per channel.")
        try:
            pixels = np.asarray(image.convert(mode))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{file} is damaged ({error}).") from error
    return pixels[..., None] if mode == "L" else pixels


def _opened(file: pathlib.Path) -> Image.Image:
    try:
        return Image.open(file)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image.") from error


def _read_npz(path: pathlib.Path, batch_size: int) -> Iterator[np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as stream:
            num, image_shape = _header(path, stream)
            size = int(np.prod(image_shape))
            for start in range(0, num, batch_size):
                count = min(batch_size, num - start)
                raw = stream.read(count * size)
                if len(raw) != count * size:
                    raise EOFError("it ends too early")
                yield np.frombuffer(raw, np.uint8).reshape(count, *image_shape)
    except _NoImagesError:
        raise
    except (*UNREADABLE, KeyError) as error:
        raise ValueError(f"{path} cannot be read as samples, an .npz with arr_0 ({error}).") from error


class _NoImagesError(ValueError):
    """The file is intact but does not hold images."""


def _header(path: pathlib.Path, stream: Any) -> tuple[int, tuple[int, ...]]:
    """The number of images in an `.npy` stream, and their shape."""
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = reader(stream)
    if len(shape) != 4 or dtype != np.uint8 or shape[-1] not in (1, 3) or fortran_order or not shape[0]:
        order = " in Fortran order" if fortran_order else ""
        raise _NoImagesError(f"{path} has {dtype} {shape}{order} as arr_0; samples are uint8 [N, H, W, 1 or 3].")
    return shape[0], tuple(shape[1:])
