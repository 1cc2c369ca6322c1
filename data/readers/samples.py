"""Samples of other programs: `.npz` files with `arr_0`, and folders of image files, read piece by piece."""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from core import array_files
from core.reading import UnreadableError, open_member, open_zip, reading
from core.text import first_line
from data.decoders import ERRORS, MAX_PIXELS, SUFFIXES
from data.images import Format, Header, decode, is_image, read_header
from data.notices import some_of, warn_once
from data.readers.containers import Folder


def read_batches(path: str | os.PathLike, batch_size: int, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
    """The images of an `.npz` file or of a folder, [B, H, W, C] with B = `batch_size` except in the last batch.

    An `.npz` file holds `arr_0` [N, H, W, C] uint8 or uint16, C = 1 or 3, and is read in pieces. In a folder,
    all image files below it that are not hidden are read as for training, sorted by path; they are grayscale if the
    first one is, otherwise RGB, and uint16 if it is a gray image of 16 bits, otherwise uint8. Nothing is executed.
    Errors: ValueError, one sentence that starts with the path of the file at fault.
    """
    if batch_size < 1:
        raise ValueError(f"batches of {batch_size} images were requested; use at least 1")
    path = pathlib.Path(path)
    if path.is_dir():
        return _read_folder(path, batch_size, max_pixels)
    if path.is_file() and path.suffix.lower() == ".npz":
        return _read_npz(path, batch_size)
    raise ValueError(f"{path} is neither a folder of {', '.join(SUFFIXES)} files nor an .npz file.")


class Described(NamedTuple):
    """How many images there are, and the shape [H, W, C] of each."""

    num: int
    shape: tuple[int, ...]


def describe(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Described:
    """The images that `read_batches` would read; only the headers are read, of every file. Errors: as there."""
    path = pathlib.Path(path)
    if path.is_dir():
        files = _files(path)
        first = _header(files[0], max_pixels)
        for file in files:
            _same_format(file, _header(file, max_pixels), first, files[0])
        return Described(len(files), tuple(first[:3]))
    if path.suffix.lower() != ".npz" or not path.is_file():
        read_batches(path, 1)  # says what is wrong
    with _arr_0(path) as (_, header):
        return Described(header.shape[0], header.shape[1:])


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    names = sorted(pathlib.PurePosixPath(entry.name) for entry in Folder(path).entries())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    files = [path / name for name in shown if is_image(name)]
    if others := [str(name) for name in shown if not is_image(name)]:
        warn_once(f"{some_of(others)} of {path} are no images (left out)")
    if not files:
        raise ValueError(f"{path} contains no {', '.join(SUFFIXES)} file.")
    return files


def _read_folder(path: pathlib.Path, batch_size: int, max_pixels: int) -> Iterator[np.ndarray]:
    files = _files(path)
    first = _header(files[0], max_pixels)
    remaining = iter(files)
    while chosen := list(itertools.islice(remaining, batch_size)):
        yield np.stack([_image(file, first, files[0], max_pixels) for file in chosen])


def _header(file: pathlib.Path, max_pixels: int) -> Header:
    try:
        with file.open("rb") as raw:
            return read_header(raw, max_pixels)
    except ERRORS as error:
        raise ValueError(f"{file} cannot be read as an image ({first_line(error)}).") from error


def _image(file: pathlib.Path, first: Header, of: pathlib.Path, max_pixels: int) -> np.ndarray:
    """One image in the format of the first one, [H, W, C]."""
    _same_format(file, _header(file, max_pixels), first, of)
    try:
        with file.open("rb") as raw:
            return decode(raw, Format(*first, None), max_pixels)
    except ERRORS as error:
        raise ValueError(f"{file} is damaged ({first_line(error)}).") from error


def _same_format(file: pathlib.Path, header: Header, first: Header, of: pathlib.Path) -> None:
    """Raises ValueError for an image of another size or depth than the first one."""
    if header[:2] != first[:2]:
        raise ValueError(f"{file} is {header.height}x{header.width}, but {of} {first.height}x{first.width}.")
    if header.dtype != first.dtype:
        raise ValueError(f"{file} is {header.dtype}, but {of} {first.dtype}; give images of one depth.")


def _read_npz(path: pathlib.Path, batch_size: int) -> Iterator[np.ndarray]:
    with _arr_0(path) as (stream, header):
        num, image_shape = header.shape[0], header.shape[1:]
        for start in range(0, num, batch_size):
            count = min(batch_size, num - start)
            with reading():
                found = np.frombuffer(stream.read(count * header.num_bytes // num), header.dtype)
                batch = found.reshape(count, *image_shape)  # fails where it ends too early
            yield batch


@contextlib.contextmanager
def _arr_0(path: pathlib.Path) -> Iterator[tuple[BinaryIO, array_files.Header]]:
    """The images in an .npz file, to be read piece by piece. Errors: ValueError that names the file."""
    try:
        with open_zip(path) as archive:
            if "arr_0.npy" not in (names := archive.namelist()):
                listed = some_of([name.removesuffix(".npy") for name in names]) or "no array"
                raise _NoImagesError(f"{path} has {listed}, but no arr_0; save the samples as arr_0.")
            stream, size = open_member(archive, "arr_0.npy")
            with stream:
                header = array_files.read_header(stream, size)
                _check_images(path, header)
                yield stream, header
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read as samples, an .npz with arr_0 ({error}).") from error


def _check_images(path: pathlib.Path, header: array_files.Header) -> None:
    shape, fortran_order, dtype, num_bytes = header
    is_image = len(shape) == 4 and dtype in (np.uint8, np.dtype("<u2")) and shape[-1] in (1, 3)
    if not is_image or fortran_order or not num_bytes:
        order = " in Fortran order" if fortran_order else ""
        raise _NoImagesError(f"{path} has {dtype} {shape}{order} as arr_0; samples are uint8 [N, H, W, 1 or 3].")


class _NoImagesError(ValueError):
    """The file is intact but does not hold images."""
