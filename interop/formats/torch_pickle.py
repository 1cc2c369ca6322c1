"""The file format of `torch.save`, read without PyTorch and without executing anything.

A zip archive of uncompressed entries: `ROOT/data.pkl` is a pickle, `ROOT/data/KEY` the raw numbers of one storage. A
pickle is a program, so there are three safeguards: its opcodes are checked before it runs, the names that it may use
are a short list of constructors defined here, and storages are read from the archive by their key. Source: the
documentation of `torch.save` and of Python's `pickletools`.
"""

import io
import math
import pathlib
import pickle
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from interop.base import CheckpointFormatError

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before PyTorch 1.6

MAX_PICKLE_BYTES = 2**24  # more than ten times that of the largest published network
_OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "DICT", "LIST", "TUPLE", "TUPLE1",
    "TUPLE2", "TUPLE3", "SETITEM", "SETITEMS", "APPEND", "APPENDS", "NONE", "NEWTRUE", "NEWFALSE", "BININT",
    "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES",
    "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
    "BINPERSID",
))  # fmt: skip
UNREADABLE = (
    pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, EOFError, OSError, MemoryError, RuntimeError,
)  # fmt: skip


def read(path: pathlib.Path) -> Any:
    """The object that was saved: dicts, lists, tuples, numbers and strings, with read-only NumPy arrays as tensors.

    Errors: CheckpointFormatError for a file that is damaged, that names anything but the constructors of plain data,
    or whose tensors reach beyond their storage.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = Entries(archive, path.stat().st_size)
            program = entries.read("data.pkl")
            check_opcodes(program)
            return Unpickler(program, entries).load()
    except CheckpointFormatError:
        raise
    except UNREADABLE as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CheckpointFormatError(
            f"is not a PyTorch checkpoint, or is damaged or truncated ({reason[:150]}); nothing in it was executed."
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
        """The bytes of an entry. Errors: KeyError, BadZipFile."""
        return self._archive.read(self._root + name)  # checks the CRC

    def read_or(self, name: str, default: bytes) -> bytes:
        """The bytes of an entry, or `default` if it does not exist."""
        return self.read(name) if self._root + name in self._names else default


def check_opcodes(program: bytes) -> None:
    """Errors: CheckpointFormatError for a pickle that does more than build plain data, or that wastes memory."""
    if len(program) > MAX_PICKLE_BYTES:
        raise CheckpointFormatError(f"has a pickle of {len(program)} bytes; more than {MAX_PICKLE_BYTES} is refused.")
    stop: int | None = None
    for count, (opcode, argument, position) in enumerate(pickletools.genops(program)):
        if opcode.name not in _OPCODES:
            raise CheckpointFormatError(
                f"uses the pickle operation {opcode.name}, which no checkpoint needs; nothing in it was executed."
            )
        if opcode.name == "LONG_BINPUT" and (not isinstance(argument, int) or argument > count):
            raise CheckpointFormatError("has a pickle with entries out of order; nothing in it was executed.")
        stop = position
    if stop != len(program) - 1:
        raise CheckpointFormatError("has a pickle with data after its end; nothing in it was executed.")


class Unpickler(pickle.Unpickler):
    """An unpickler that knows only the names in `_constructors`."""

    def __init__(self, program: bytes, entries: Entries):
        super().__init__(io.BytesIO(program))
        self._entries = entries
        self._order = {b"little": "<", b"big": ">"}[entries.read_or("byteorder", b"little")]
        self._storages: dict[tuple[str, str], np.ndarray] = {}
        self._known = _constructors()

    def find_class(self, module: str, name: str) -> Any:
        """An allowed name. Errors: CheckpointFormatError for any other."""
        if (found := self._known.get(f"{module}.{name}")) is None:
            raise CheckpointFormatError(
                f"asks for {module}.{name}"[:100] + ", which no checkpoint needs; nothing in it was executed."
            )
        return found

    def persistent_load(self, pid: Any) -> np.ndarray:
        """A storage, from ("storage", its type, its key, a device, the number of its elements)."""
        kind, scalar, key, _, size = pid
        if kind != "storage" or scalar not in STORAGES.values() or type(size) is not int:
            raise ValueError("a storage is described in an unknown way")
        if not (isinstance(key, str) and re.fullmatch(r"\w{1,40}", key)):
            raise ValueError(f"a storage has the key {str(key)[:40]!r}")
        if (key, scalar) not in self._storages:
            self._storages[key, scalar] = self._load_storage(key, scalar)
        storage = self._storages[key, scalar]
        if storage.size != size:
            raise ValueError(f"storage {key} has {storage.size} elements instead of {size}")
        return storage

    def _load_storage(self, key: str, scalar: str) -> np.ndarray:
        raw = self._entries.read(f"data/{key}")
        if scalar == "bfloat16":  # the upper half of a float32
            upper = np.frombuffer(raw, f"{self._order}u2").astype(np.uint32)
            storage = (upper << 16).view(np.float32)
        else:
            storage = np.frombuffer(raw, self._order + scalar)
        storage.flags.writeable = False
        return storage


class Constructor:
    """The value of an allowed name; it can only be called, so a pickle cannot change it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]):
        self._make = make

    def __call__(self, *args: Any) -> Any:
        """The object that the name constructs."""
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        """Errors: ValueError always."""
        raise ValueError("a constructor is given a state")


class _Dict(dict):
    """An OrderedDict; attributes such as `_metadata` are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        del state


class _DType:
    """A NumPy scalar type: its code, such as "f8", and the byte order in its state."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *flags: Any):
        if not (isinstance(code, str) and re.fullmatch(r"[fiu][1248]|b1", code)):
            raise ValueError(f"a scalar of type {str(code)[:20]!r}")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise ValueError("a scalar of unknown byte order")
        self.code = state[1] + self.code[-2:]


def _scalar(dtype: Any, raw: Any) -> float | int:
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes):
        raise ValueError("a NumPy scalar is described in an unknown way")
    (value,) = np.frombuffer(raw, dtype.code)
    return value.item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes, which old pickles store as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes are encoded in an unknown way")
    return text.encode("latin-1")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    """A read-only view of a storage; sizes and strides are in elements."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1 or len(size) != len(stride):
        raise ValueError("a tensor is described in an unknown way")
    if any(type(n) is not int or n < 0 for n in (offset, *size, *stride)):
        raise ValueError("a tensor has a negative size or stride")
    num = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if len(size) > 16 or num > storage.size or (num and last >= storage.size):
        raise ValueError("a tensor reaches beyond its storage")
    if not num:
        return np.zeros(size, storage.dtype)
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _constructors() -> dict[str, Any]:
    """The names that a pickle may use, created for each file; types of storages are plain strings."""
    made: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": _Dict,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": lambda tensor, *rest: tensor,
        "torch.Size": lambda sizes: tuple(sizes),
        "torch.device": lambda *name: str(name),
        "numpy.core.multiarray.scalar": _scalar,
        "numpy._core.multiarray.scalar": _scalar,
        "numpy.dtype": _DType,
        "_codecs.encode": _encode,
    }
    return STORAGES | {name: Constructor(make) for name, make in made.items()}


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
