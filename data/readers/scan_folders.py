"""A folder of scans as a data set, split by subject: `scans:PATH`.

A subject is a folder directly below PATH, or a file that lies there. Examples are slices [H, W, 1] of NIfTI, DICOM and
HDF5 files, cropped to the center or padded with zeros to `data.image_size`; with `data.shape` = (D, H, W, 1) they are
the volumes of NIfTI and of DICOM files with several frames, of this size. `data.num_levels` scales the values of each
file to levels; without it they are floats. An HDF5 file with `kspace` of one coil has complex slices [H, W, 2].
"""

import dataclasses
import functools
import pathlib

import numpy as np

from data.fields import Field, labeled
from data.readers.scans import HDF5, KSPACE, SCANS, has_dataset, is_hdf5, read_hdf5, read_kspace, read_scan, scaled
from data.source import Examples, Reading, Source, of_subjects

MAGNITUDES = "reconstruction_esc"  # of an HDF5 file without k-space


@dataclasses.dataclass(frozen=True)
class Slices:
    """A `fetch` of slices, or of whole volumes; a file is read when one of its slices is first used."""

    places: tuple[tuple[pathlib.Path, int], ...]  # a file, and the slice in it, or -1 for a whole volume
    subjects: np.ndarray  # int32 [n]
    x: Field

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]. Errors: ValueError that names a file that cannot be read."""
        found = []
        for path, number in (self.places[index] for index in indices):
            values = _values(path, self.x.num_levels)
            found.append(values if number < 0 else values[number])
        sides = self.x.shape[:-1]
        x = np.stack([_fitted(each, sides) for each in found]) if found else np.empty((0, *self.x.shape))
        return {
            "x": x.astype(self.x.dtype),
            "label": np.zeros(len(indices), np.int32),
            "subject": self.subjects[indices],
        }


def open_scans(given: str, split: str, reading: Reading) -> Source:
    """The split of a folder of scans. Errors: ValueError, FileNotFoundError, one sentence that names the file."""
    root = pathlib.Path(given)
    files = _files(root)
    names = {path: path.relative_to(root).parts[0] for path in files}
    known = sorted(set(names.values()))
    wanted = of_subjects(np.arange(len(known)), split, reading.test_every)
    if not len(wanted):
        raise ValueError(
            f"{root} has {len(known)} subject(s), none of them in the {split} split; give more, or set "
            "config.data.test_every = 0 to use all of them for both."
        )
    chosen = [path for path in files if known.index(names[path]) in set(wanted.tolist())]
    whole, num_levels = len(reading.shape) == 4, reading.num_levels or 0
    places = tuple((path, number) for path in chosen for number in ([-1] if whole else range(_num_slices(path))))
    subjects = np.array([known.index(names[path]) for path, _ in places], np.int32)
    channels = _values(chosen[0], num_levels).shape[-1]
    sides = reading.shape[:-1] or (reading.image_size, reading.image_size)
    dtype = ("uint8" if num_levels <= 2**8 else "uint16") if num_levels else "float32"
    x = Field((*sides, channels), dtype, num_levels)
    fields = labeled(x, 0) | {"subject": Field((), "int32", num_classes=len(known))}
    return Source(f"scans:{given}", len(places), fields, Slices(places, subjects, x))


def _files(root: pathlib.Path) -> list[pathlib.Path]:
    """All scans below a folder. Errors: FileNotFoundError where there are none."""
    endings = (*SCANS, *HDF5)
    found = [path for path in sorted(root.rglob("*")) if path.name.lower().endswith(endings) and path.is_file()]
    if not found:
        raise FileNotFoundError(f"{root} has no {', '.join(endings)} file; give a folder of scans.")
    return found


def _num_slices(path: pathlib.Path) -> int:
    return len(_values(path, 0))


@functools.lru_cache(maxsize=64)
def _values(path: pathlib.Path, num_levels: int) -> np.ndarray:
    """The slices [D, H, W, C] of a file; a single slice has D = 1."""
    if is_hdf5(path) and has_dataset(path, KSPACE):
        k = read_kspace(path)
        if k.shape[-1] != 1 or num_levels:
            raise ValueError(
                f"{path} has {KSPACE} of {k.shape[-1]} coil(s), whose complex slices have no levels; give k-space of "
                "one coil, and leave config.data.num_levels unset."
            )
        z = np.fft.ifft2(k[..., 0], norm="ortho")
        return np.stack([z.real, z.imag], axis=-1).astype(np.float32)
    values = read_hdf5(path, MAGNITUDES).astype(np.float32) if is_hdf5(path) else read_scan(path)
    if values.ndim not in (2, 3):
        raise ValueError(f"{path} has {values.shape}, but slices [D, H, W] are expected.")
    values = values[None] if values.ndim == 2 else values
    return (scaled(path, values, num_levels) if num_levels else values)[..., None]


def _fitted(values: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    """Values [*, C] cropped to the center, or padded with zeros around it, to these sides."""
    for axis, side in enumerate(sides):
        spare = values.shape[axis] - side
        if spare > 0:
            values = np.take(values, range(spare // 2, spare // 2 + side), axis=axis)
        elif spare < 0:
            around = [(0, 0)] * values.ndim
            around[axis] = (-spare // 2, -spare - -spare // 2)
            values = np.pad(values, around)
    return values
