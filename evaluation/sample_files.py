"""Writing samples in the formats of other programs: `.npz` files with `arr_0`, and folders of PNG files."""

import os
import pathlib
import zipfile
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
from PIL import Image

from core.files import temporary_folder, write_atomically

DTYPES = ("uint8", "uint16", "int32", "float32")  # levels, tokens, values


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
    number, was_first = 0, True
    with temporary_folder(path) as temporary:
        for batch in batches:
            if batch.ndim != 4 or batch.dtype != np.uint8 or batch.shape[-1] not in (1, 3):
                raise ValueError(f"images of {batch.dtype} {batch.shape} were given; use uint8 [B, H, W, 1 or 3]")
            for image in batch:
                pixels = image[..., 0] if image.shape[-1] == 1 else image
                Image.fromarray(pixels).save(temporary / f"{number:06d}.png")
                number += 1
        try:
            temporary.rename(path)
        except OSError:
            if not path.exists():
                raise
            was_first = False
    if not was_first:
        raise FileExistsError(f"{path} exists already; give another folder.")
    return number
