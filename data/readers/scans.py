"""Files of scanners: HDF5 (h5py), NIfTI (nibabel) and DICOM (pydicom), each by a library that is an extra.

A slice is [H, W], rows from top to bottom, and a volume [D, H, W]. The axes (x, y, z) of NIfTI become [z, y, x];
nothing is turned or mirrored. Values are floats in the units of the file.
"""

import contextlib
import importlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from core.reading import UnreadableError, check_size, reason
from data.notices import some_of

HDF5, NIFTI, DICOM = (".h5", ".hdf5"), (".nii", ".nii.gz"), (".dcm", ".dicom")
SCANS = (*NIFTI, *DICOM)  # files of slices and volumes
KSPACE = "kspace"
PACKAGES: dict[tuple[str, ...], str] = {HDF5: "h5py", NIFTI: "nibabel", DICOM: "pydicom"}


def is_scan(path: pathlib.Path) -> bool:
    """Whether a file is one of slices or volumes, by its ending."""
    return path.name.lower().endswith(SCANS)


def is_hdf5(path: pathlib.Path) -> bool:
    """Whether a file is HDF5, by its ending."""
    return path.name.lower().endswith(HDF5)


def read_scan(path: pathlib.Path) -> np.ndarray:
    """The slice [H, W] or the volume [D, H, W] of a NIfTI or DICOM file, float32.

    Errors: ValueError for a file that cannot be read, has no pixels, or has another number of axes.
    """
    values = _nifti(path) if path.name.lower().endswith(NIFTI) else _dicom(path)
    if not np.isfinite(values).all():
        raise ValueError(f"{path} has values that are not finite; replace them.")
    return values


def read_hdf5(path: pathlib.Path, name: str) -> np.ndarray:
    """The dataset `name` of an HDF5 file, or its only one.

    Errors: ValueError for a file that cannot be read, for one of several datasets without this name, and for values
    that are in other files: a stranger's file would name one of ours.
    """
    h5py = _package(path, HDF5)
    with _readable(path), h5py.File(path, "r") as file:
        own = [key for key in file if isinstance(file.get(key, getlink=True), h5py.HardLink)]
        found = {key: file[key] for key in own if isinstance(file[key], h5py.Dataset)}
        if name not in found and len(found) != 1:
            what = some_of(sorted(found)) or "no datasets"
            raise UnreadableError(f"it contains {what}; give a dataset called {name}")
        dataset = found[name] if name in found else next(iter(found.values()))
        if dataset.dtype.kind not in "biufc":
            raise UnreadableError(f"its dataset {dataset.name} is {dataset.dtype}; give numbers")
        if dataset.external or dataset.is_virtual:
            raise UnreadableError(
                f"the values of its dataset {dataset.name} are in other files; give one that has them"
            )
        check_size(dataset.size * dataset.dtype.itemsize)
        return np.asarray(dataset[()])


def has_dataset(path: pathlib.Path, name: str) -> bool:
    """Whether an HDF5 file has a dataset of this name. Errors: ValueError for a file that cannot be read."""
    h5py = _package(path, HDF5)
    with _readable(path), h5py.File(path, "r") as file:
        return isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Dataset)


def read_kspace(path: pathlib.Path) -> np.ndarray:
    """Frequencies [N, H, W, coils], complex64, of the dataset `kspace` [N, H, W] or [N, coils, H, W].

    In the file, zero is in the center of frequencies and of images, as fastMRI has it; here both are in the order of
    NumPy's `fftn`. What is zero in the file stays zero. Errors: ValueError for other shapes and for real numbers.
    Source: Zbontar et al., "fastMRI: An Open Dataset and Benchmarks for Accelerated MRI", arXiv 1811.08839.
    """
    k = read_hdf5(path, KSPACE)
    if k.ndim not in (3, 4) or not np.iscomplexobj(k):
        raise ValueError(
            f"{path} has {k.dtype} {k.shape} as {KSPACE}, but complex [slices, height, width], or with coils [slices, "
            "coils, height, width], is expected."
        )
    k = k[..., None] if k.ndim == 3 else np.moveaxis(k, 1, -1)
    k = np.fft.ifftshift(k, axes=(1, 2))
    for axis in (1, 2):  # an image that is shifted by n // 2 has these phases
        n = k.shape[axis]
        phase = np.exp(-2j * np.pi * np.fft.fftfreq(n) * (n // 2))
        k = k * phase.reshape([-1 if a == axis else 1 for a in range(4)])
    return k.astype(np.complex64)


def scaled(path: pathlib.Path, values: np.ndarray, num_levels: int) -> np.ndarray:
    """Levels from 0 to `num_levels` - 1 of values, from the smallest to the largest of the file.

    Errors: ValueError for values that are all equal.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        raise ValueError(
            f"{path} has the value {low:g} everywhere, so that it has no range to be scaled; leave it out."
        )
    levels = np.round((values.astype(np.float64) - low) / (high - low) * (num_levels - 1))
    return levels.astype(np.uint8 if num_levels <= 2**8 else np.uint16)


def _nifti(path: pathlib.Path) -> np.ndarray:
    nibabel = _package(path, NIFTI)
    with _readable(path):
        image = nibabel.load(path)
        shape = tuple(n for axis, n in enumerate(image.shape) if axis < 3 or n > 1)
        if len(shape) not in (2, 3):
            raise UnreadableError(f"it is {len(image.shape)}-D, {image.shape}, but a 3-D volume is expected: split it")
        check_size(8 * int(np.prod(shape)))
        values = np.asarray(image.dataobj, np.float32).reshape(shape)
    return np.ascontiguousarray(values.T)


def _dicom(path: pathlib.Path) -> np.ndarray:
    pydicom = _package(path, DICOM)
    from pydicom.filereader import read_file_meta_info  # beside pydicom itself
    from pydicom.pixels import apply_rescale

    with _readable(path):
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if (
            syntax is not None and syntax.is_deflated
        ):  # unpacked as a whole, to any size, before it says how large it is
            raise UnreadableError("it is deflated DICOM; give it with another transfer syntax")
        file = pydicom.dcmread(path)
        if "PixelData" not in file:
            raise UnreadableError("it is DICOM without pixels; give files of images")
        check_size(8 * int(file.Rows) * int(file.Columns) * int(file.get("NumberOfFrames") or 1))
        values = np.asarray(apply_rescale(file.pixel_array, file), np.float32)
        if int(file.get("SamplesPerPixel", 1)) != 1:
            raise UnreadableError(f"its pixels have {file.SamplesPerPixel} channels; give images of one")
    return values


def _package(path: pathlib.Path, endings: tuple[str, ...]) -> Any:
    """The library for files with these endings. Errors: ValueError where it is not installed."""
    name = PACKAGES[endings]
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(f"{path} cannot be read without {name}: `pip install {name}`.") from None


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[None]:
    """Says which file cannot be read, whatever its library raises for what is damaged. Errors: ValueError."""
    if not path.is_file():
        raise ValueError(f"{path} {'is not a file' if path.exists() else 'does not exist'}; give a scan.")
    try:
        yield
    except Exception as error:  # the libraries parse what others have written, and that can fail in any way
        raise ValueError(f"{path} cannot be read: {reason(error)}.") from error
