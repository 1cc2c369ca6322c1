"""The data in a pickle, read without running it: plain values, arrays, and what a reader's own names stand for.

A pickle is a program for a stack machine that can call any function. Here a machine that knows only the operations of
data interprets it, and Python's unpickler never sees the file. A name stands for a `Constructor` of the reader or for
nothing; dictionary keys are text, bytes or integers; nothing contains itself; and numbers of operations and values,
and depth, are bounded before anything is built of them. Source: the documentation of Python's `pickletools`.
"""

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from core.text import first_line

MAX_BYTES = 2**26  # a batch of CIFAR-10 has half of it, the pickle of the largest published network a fortieth
MAX_OPERATIONS = 2**19  # two seconds, and four times as many as the largest published network has
MAX_VALUES = 2**20  # in all, where a part that is used several times counts each time
MAX_DEPTH = 64
_MAX_KEY = 2**60  # larger integers may have one hash in great numbers
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset((
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES",
))  # fmt: skip
_OLD_TEXT = ("BINSTRING", "SHORT_BINSTRING")  # of Python 2: bytes
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleFormatError(ValueError):
    """A pickle is damaged, or does more than describe data; the message says what, of `it`."""


class Constructor:
    """The value of a name: a function that a pickle may call, and use for nothing else."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]):
        self.make = make


class Unfinished:
    """What a constructor returns that is complete only with the state that follows."""

    __slots__ = ()

    def with_state(self, state: Any) -> Any:
        """The complete object. Errors: ValueError for a state that it cannot have."""
        raise NotImplementedError


Names = Mapping[str, Any]  # by module.name: a `Constructor`, or a plain value
Persistent = Callable[[Any], Any]  # from what a pickle says of an object that is stored elsewhere


def loads(program: bytes, names: Names, persistent: Persistent | None = None, max_bytes: int = MAX_BYTES) -> Any:
    """The value that a whole pickle describes. Errors: ValueError; see `load`."""
    if len(program) > max_bytes:
        raise PickleFormatError(f"it has a pickle of {len(program)} bytes, more than {max_bytes}")
    stream = io.BytesIO(program)
    value = load(stream, names, persistent)
    if stream.read(1):
        raise PickleFormatError("it has a pickle with data after its end")
    return value


def load(stream: BinaryIO, names: Names, persistent: Persistent | None = None) -> Any:
    """The value that the pickle at the beginning of a stream describes; the stream is then behind its end.

    The result has dictionaries, lists, tuples, numbers, text, bytes, and what the constructors in `names` and
    `persistent` return. Errors: PickleFormatError; ValueError of a constructor.
    """
    machine = _Machine(names, persistent)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPERATIONS:
                raise PickleFormatError(f"it has more than {MAX_OPERATIONS} pickle operations")
            machine.run(operation.name, argument)
        return machine.result()
    except (LookupError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        raise PickleFormatError(f"it has a damaged pickle: {first_line(error)[:100]}") from error


class _Item:
    """A value on the stack, the number of values in it, its depth, and whether something contains it."""

    __slots__ = ("depth", "is_used", "size", "value")

    def __init__(self, value: Any, size: int = 1, depth: int = 0):
        if size > MAX_VALUES or depth > MAX_DEPTH:
            raise PickleFormatError(f"it has more than {MAX_VALUES} values, or more than {MAX_DEPTH} in each other")
        self.value, self.size, self.depth, self.is_used = value, size, depth, False


class _Machine:
    """The stack and the memo, and the operations on them."""

    def __init__(self, names: Names, persistent: Persistent | None):
        self._names, self._persistent = names, persistent
        self._stack: list[_Item] = []
        self._marks: list[int] = []
        self._memo: dict[int, _Item] = {}
        self._made_bytes = 0
        self._operations: dict[str, Callable[[Any], None]] = {
            "PROTO": _nothing, "FRAME": _nothing, "STOP": _nothing,
            "MARK": lambda _: self._marks.append(len(self._stack)),
            "EMPTY_LIST": lambda _: self._push([]), "EMPTY_DICT": lambda _: self._push({}),
            "LIST": lambda _: self._extend(_Item([]), self._to_mark()),
            "DICT": lambda _: self._set(_Item({}), self._to_mark()),
            "TUPLE": lambda _: self._join(self._to_mark()),
            "APPEND": lambda _: self._extend(None, [self._pop()]),
            "APPENDS": lambda _: self._extend(None, self._to_mark()),
            "SETITEM": lambda _: self._set(None, self._last(2)),
            "SETITEMS": lambda _: self._set(None, self._to_mark()),
            "BINPUT": self._put, "LONG_BINPUT": self._put, "MEMOIZE": lambda _: self._put(len(self._memo)),
            "BINGET": self._get, "LONG_BINGET": self._get,
            "GLOBAL": lambda name: self._name(*name.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._name(*(item.value for item in self._last(2))),
            "REDUCE": self._call, "BUILD": self._build, "BINPERSID": self._load_persistent,
        }  # fmt: skip

    def run(self, operation: str, argument: Any) -> None:
        """One operation. Errors: PickleFormatError for one that data do not need; those of `load`."""
        if operation in _LITERALS:
            self._push(argument)
        elif operation in _CONSTANTS:
            self._push(_CONSTANTS[operation])
        elif operation in _OLD_TEXT:
            self._push(argument.encode("latin-1"))
        elif operation in _TUPLES:
            self._join(self._last(_TUPLES[operation]))
        elif operation in self._operations:
            self._operations[operation](argument)
        else:
            raise PickleFormatError(f"it uses the pickle operation {operation}, which data do not need")

    def result(self) -> Any:
        """The only value that is left. Errors: PickleFormatError."""
        if len(self._stack) != 1 or self._marks:
            raise PickleFormatError("it has a damaged pickle, which does not end with one value")
        return self._stack[0].value

    # The stack: what an operation takes from it, and what it leaves.

    def _push(self, value: Any, parts: Sequence[_Item] = ()) -> None:
        self._stack.append(_Item(value, *_extent(parts)) if parts else _Item(value))

    def _pop(self) -> _Item:
        (item,) = self._last(1)
        return item

    def _top(self) -> _Item:
        if not self._stack:
            raise PickleFormatError("it has a damaged pickle, which changes what is not there")
        return self._stack[-1]

    def _last(self, count: int) -> list[_Item]:
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise PickleFormatError("it has a damaged pickle, which takes values that are not there")
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _to_mark(self) -> list[_Item]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _target(self, new: _Item | None, kind: type) -> _Item:
        """What takes items: a new container, which is pushed, or the last one, which nothing contains yet."""
        if new is not None:
            self._stack.append(new)
        target = self._top()
        if type(target.value) is not kind or target.is_used:
            raise PickleFormatError(f"it changes what is no {kind.__name__}, or is complete, or contains it")
        return target

    # Containers.

    def _join(self, items: Sequence[_Item]) -> None:
        self._push(tuple(item.value for item in items), items)

    def _extend(self, new: _Item | None, items: Sequence[_Item]) -> None:
        target = self._target(new, list)
        _grow(target, items)
        target.value.extend(item.value for item in items)

    def _set(self, new: _Item | None, items: Sequence[_Item]) -> None:
        target = self._target(new, dict)
        _grow(target, items)
        target.value.update(_pairs([item.value for item in items]))

    def _put(self, key: int) -> None:
        self._memo[key] = self._top()

    def _get(self, key: int) -> None:
        item = self._memo[key]
        item.is_used = True  # from now on it cannot change, so that it can neither grow nor contain itself
        self._stack.append(item)

    # Names, and what they construct.

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or f"{module}.{name}" not in self._names:
            asked = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "what is no name"
            raise PickleFormatError(f"it asks for {asked[:80]}, which is not executed")
        self._push(self._names[f"{module}.{name}"])

    def _call(self, _: Any) -> None:
        function, arguments = self._last(2)
        if not isinstance(function.value, Constructor) or not isinstance(arguments.value, tuple):
            raise PickleFormatError("it calls what is no function")
        made = function.value.make(*arguments.value)
        if isinstance(made, bytes | str):
            self._made_bytes += len(made)
            if self._made_bytes > MAX_BYTES:
                raise PickleFormatError(f"it makes more than {MAX_BYTES} bytes of text")
        self._push(made, [arguments])

    def _build(self, _: Any) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target.value, Unfinished) and not target.is_used:
            _grow(target, [state])
            target.value = target.value.with_state(state.value)
        elif not isinstance(target.value, dict) or target.is_used:  # attributes of a dictionary are dropped
            raise PickleFormatError("it gives a state to what has none")

    def _load_persistent(self, _: Any) -> None:
        if self._persistent is None:
            raise PickleFormatError("it refers to objects in other files")
        self._push(self._persistent(self._pop().value))


def pairs(items: Any) -> dict[Any, Any]:
    """A dictionary of (key, value) pairs. Errors: ValueError for anything else, and for keys of other types."""
    if not isinstance(items, list | tuple) or any(not isinstance(i, list | tuple) or len(i) != 2 for i in items):
        raise ValueError("a dictionary is made of other things than pairs")
    return dict(_pairs([part for pair in items for part in pair]))


def _pairs(values: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values in turn. Errors: PickleFormatError for a key whose hash could take long, or have none."""
    for key, value in zip(values[::2], values[1::2], strict=True):
        if type(key) not in (str, bytes, int) or (type(key) is int and abs(key) >= _MAX_KEY):
            raise PickleFormatError(f"it has a dictionary with a {type(key).__name__} as a key")
        yield key, value


def _extent(parts: Sequence[_Item]) -> tuple[int, int]:
    """The number of values in a container and its depth; marks its parts as used."""
    for part in parts:
        part.is_used = True
    return 1 + sum(part.size for part in parts), max((1 + part.depth for part in parts), default=0)


def _grow(target: _Item, parts: Sequence[_Item]) -> None:
    size, depth = _extent(parts)
    grown = _Item(None, target.size + size, max(target.depth, depth))  # within the limits
    target.size, target.depth = grown.size, grown.depth


def _nothing(argument: Any) -> None:
    del argument
