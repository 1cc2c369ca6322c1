"""What pickles say of NumPy's arrays, types and scalars, rebuilt from their numbers alone.

A state can claim any flags, fields and pointers. Here only the code of a plain number, the byte order, a shape, and as
many bytes as that shape takes are used of it. Source: `numpy.ndarray.__reduce__` and `numpy.dtype.__reduce__`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.pickles import Constructor, Unfinished

CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_ORDERS = ("<", ">", "=", "|")
_MAX_RANK, _MAX_SIDE = 32, 2**40


class _DType(Unfinished):
    """The type of a plain number: its code, such as "f8", and the byte order in its state."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *flags: Any):
        del flags
        self.code = _text(code)
        if self.code[-2:] not in CODES or self.code[:-2] not in ("", *_ORDERS):
            raise ValueError(f"it has numbers of the type {self.code[:20]!r}")

    def with_state(self, state: Any) -> "_DType":
        """The same in the byte order of a state. Errors: ValueError for a type with fields or a shape."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise ValueError("it has a type of numbers with parts")
        if (order := _text(state[1])) not in _ORDERS:
            raise ValueError("it has numbers of unknown byte order")
        return _DType(order + self.code[-2:])


class _Array(Unfinished):
    """An array whose shape, type and numbers are in its state."""

    __slots__ = ()

    def with_state(self, state: Any) -> np.ndarray:
        """A read-only view of the numbers. Errors: ValueError unless shape, type and number of bytes agree."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("it has an array with a state of another form")
        _, shape, dtype, in_columns, raw = state
        sides = isinstance(shape, tuple) and len(shape) <= _MAX_RANK and is_sizes(shape)
        if not sides or not isinstance(dtype, _DType) or not isinstance(raw, bytes):
            raise ValueError("it has an array that is not made of a shape and plain numbers")
        numbers = np.dtype(dtype.code)
        if math.prod(shape) * numbers.itemsize != len(raw):
            raise ValueError(f"it has an array of {len(raw)} bytes, which is not what its shape takes")
        return np.frombuffer(raw, numbers).reshape(shape, order="F" if in_columns else "C")


def is_sizes(sizes: Sequence[Any]) -> bool:
    """Whether all are sizes that an array can have."""
    return all(type(size) is int and 0 <= size < _MAX_SIDE for size in sizes)


def _text(value: Any) -> str:
    """Text, which Python 2 writes as bytes. Errors: ValueError."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise ValueError("it has something else in place of a text")
    return text


def _scalar(dtype: Any, raw: Any) -> float | int:
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes) or len(raw) != np.dtype(dtype.code).itemsize:
        raise ValueError("it has a NumPy scalar that is not made of its bytes")
    return np.frombuffer(raw, dtype.code)[0].item()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes, which Python 3 writes as text in the pickle protocols of Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1", b"latin-1"):
        raise ValueError("it has bytes in an unknown encoding")
    return text.encode("latin-1")


# The names in pickled arrays, of Python 2 and 3, and of NumPy before and after version 2.
NAMES: dict[str, Any] = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": Constructor(_DType),
    "_codecs.encode": Constructor(_encoded),
    **{f"{module}.bytes": Constructor(lambda: b"") for module in ("builtins", "__builtin__")},  # of no bytes
    **{f"numpy.{core}.multiarray._reconstruct": Constructor(lambda *_: _Array()) for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": Constructor(_scalar) for core in ("core", "_core")},
}
