"""The file format of `torch.save`, read without PyTorch and without executing anything.

A zip archive of uncompressed entries: `ROOT/data.pkl` is a pickle, `ROOT/data/KEY` the raw numbers of one storage. The
pickle is read by `core.pickles`, with a short list of names, and storages from the archive by their key. Source: the
documentation of `torch.save`.
"""

import math
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from core import pickled_arrays
from core.pickled_arrays import is_sizes
from core.pickles import Constructor, loads, pairs
from core.reading import open_zip, read_member
from core.text import first_line
from interop.base import CheckpointFormatError

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before PyTorch 1.6

MAX_PICKLE_BYTES = 2**24  # more than ten times that of the largest published network
_MAX_RANK, _MAX_DEVICE = 16, 40
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, EOFError, OSError, MemoryError, RuntimeError,
)  # fmt: skip


def read(path: pathlib.Path) -> Any:
    """The object that was saved: dicts, lists, tuples, numbers and strings, with read-only NumPy arrays as tensors.

    Errors: CheckpointFormatError for a file that is damaged, that names anything but the constructors of plain data,
    or whose tensors reach beyond their storage.
    """
    try:
        with open_zip(path) as archive:
            entries = Entries(archive, path.stat().st_size)
            return loads(entries.read("data.pkl"), NAMES, Storages(entries), MAX_PICKLE_BYTES)
    except CheckpointFormatError:
        raise
    except UNREADABLE as error:
        raise CheckpointFormatError(
            f"is not a PyTorch checkpoint, or is damaged or truncated ({first_line(error)[:150]}); "
            "nothing in it was executed."
        ) from error


class Entries:
    """The entries of the archive below its only top-level folder."""

    def __init__(self, archive: zipfile.ZipFile, num_bytes: int):
        infos = archive.infolist()
        roots = [i.filename.removesuffix("data.pkl") for i in infos if re.fullmatch(r"[^/]+/data\.pkl", i.filename)]
        if len(roots) != 1:
            raise CheckpointFormatError(
                f"is a zip archive with {len(roots)} data.pkl in its folders, but a PyTorch checkpoint has one."
            )
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise CheckpointFormatError("is a compressed zip archive, which PyTorch does not write.")
        if sum(info.file_size for info in infos) > num_bytes:
            raise CheckpointFormatError("is a zip archive whose entries overlap.")
        self._archive, self._root = archive, roots[0]
        self._names = {info.filename for info in infos}

    def read(self, name: str) -> bytes:
        """The bytes of an entry. Errors: UnreadableError."""
        return read_member(self._archive, self._root + name)  # checks the CRC

    def read_or(self, name: str, default: bytes) -> bytes:
        """The bytes of an entry, or `default` if it does not exist."""
        return self.read(name) if self._root + name in self._names else default


class Storages:
    """The storages of an archive, by what a pickle says of them."""

    def __init__(self, entries: Entries):
        self._entries = entries
        self._order = {b"little": "<", b"big": ">"}[entries.read_or("byteorder", b"little")]
        self._found: dict[str, tuple[str, np.ndarray]] = {}

    def __call__(self, pid: Any) -> np.ndarray:
        """A storage, from ("storage", its type, its key, a device, the number of its elements)."""
        kind, scalar, key, _, size = pid
        if kind != "storage" or scalar not in STORAGES.values() or type(size) is not int:
            raise ValueError("a storage is described in an unknown way")
        if not (isinstance(key, str) and re.fullmatch(r"\w{1,40}", key)):
            raise ValueError("a storage has a key that is none")
        if key not in self._found:
            self._found[key] = scalar, self._load(key, scalar)
        known, storage = self._found[key]
        if known != scalar or storage.size != size:
            raise ValueError(f"storage {key} has {storage.size} elements instead of {size}, or is of two types")
        return storage

    def _load(self, key: str, scalar: str) -> np.ndarray:
        raw = self._entries.read(f"data/{key}")
        if scalar == "bfloat16":  # the upper half of a float32
            upper = np.frombuffer(raw, f"{self._order}u2").astype(np.uint32)
            storage = (upper << 16).view(np.float32)
        else:
            storage = np.frombuffer(raw, self._order + scalar)
        storage.flags.writeable = False
        return storage


def _size(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list | tuple) or len(sizes) > _MAX_RANK or not is_sizes(sizes):
        raise ValueError("a size is described in an unknown way")
    return tuple(sizes)


def _device(part: Any) -> str:
    if not isinstance(part, str | int) or len(str(part)) > _MAX_DEVICE:
        raise ValueError("a device is described in an unknown way")
    return str(part)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    """A read-only view of a storage; sizes and strides are in elements."""
    described = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= _MAX_RANK
    if not isinstance(storage, np.ndarray) or storage.ndim != 1 or not described:
        raise ValueError("a tensor is described in an unknown way")
    if not is_sizes((offset, *size, *stride)):
        raise ValueError("a tensor has a size or stride that is negative or too large")
    num = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if num > storage.size or (num and last >= storage.size):
        raise ValueError("a tensor reaches beyond its storage")
    if not num:
        return np.zeros(size, storage.dtype)
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


STORAGES = {
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}
_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda items=(): pairs(items),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *rest: tensor,
    "torch.Size": _size,
    "torch.device": lambda *name: ":".join(map(_device, name)),
}
# The names that a pickle may use; types of storages are plain strings.
NAMES: dict[str, Any] = pickled_arrays.NAMES | STORAGES | {n: Constructor(make) for n, make in _CONSTRUCTORS.items()}
