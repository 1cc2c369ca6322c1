"""Pickles are read as data: what Python writes comes back, and everything else is refused before it costs anything."""

import ast
import collections
import io
import pickle
import struct
import time

import numpy as np
import pytest

from core import pickled_arrays, pickles
from tests.support.paths import ROOT

NAMES = pickled_arrays.NAMES | {"collections.OrderedDict": pickles.Constructor(lambda items=(): pickles.pairs(items))}
SHARED = [1, 2]
PLAIN = [
    {"a": 1, b"b": [1.5, -(2**40), None, True, False], 3: ("x", b"y", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))},
    list(range(2500)),
    [SHARED, SHARED, {"again": SHARED}],
    {str(k): k for k in range(2500)},
    "\N{SNOWMAN}" * 300,
]
INT, NONE = b"K\x01", b"N"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def read(program):
    return pickles.loads(b"\x80\x02" + program + b".", NAMES)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_data_come_back(value, protocol):
    assert pickles.loads(pickle.dumps(value, protocol), NAMES) == value


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">f4", "?"])
def test_arrays_of_any_order_come_back_read_only(dtype, protocol):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    value = [array, np.asfortranarray(array), array[:0], array[0, 0], np.int64(7), np.float32(0.5)]
    found = pickles.loads(pickle.dumps(value, protocol), NAMES)
    for ours, theirs in zip(found[:4], value[:4], strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert np.asarray(ours).dtype == theirs.dtype or not np.ndim(theirs)
    assert found[4:] == [7, 0.5] and not found[0].flags.writeable


def test_ordered_dictionaries_and_their_attributes_are_dictionaries():
    value = collections.OrderedDict(a=1, b=2)
    value.kept = 3
    assert pickles.loads(pickle.dumps(value, 2), NAMES) == {"a": 1, "b": 2}
    pairs = text("a") + INT + b"]\x85]" + text("b")  # never mind the order: only the list of pairs is used
    assert read(b"ccollections\nOrderedDict\n](" + text("a") + INT + b"\x86" + b"e\x85R") == {"a": 1}
    with pytest.raises(ValueError):
        read(b"ccollections\nOrderedDict\n" + pairs + b"\x85R")


def test_several_pickles_follow_each_other_in_a_stream():
    stream = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps("two", 4) + b"rest")
    assert [pickles.load(stream, {}), pickles.load(stream, {}), stream.read()] == [[1], "two", b"rest"]


def doubled(levels, start=b")"):
    """A tuple of two tuples of two tuples ... that are one: few bytes, and 2^levels leaves."""
    return start + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(levels))


HOSTILE = {
    "a key that is a tuple": b"}" + doubled(34) + INT + b"s",
    "keys of a dictionary that are tuples": b"(" + doubled(34) + INT + b"d",
    "an ordered dictionary with such a key": b"ccollections\nOrderedDict\n](" + doubled(34) + INT + b"\x86e\x85R",
    "a key that is a large integer": b"}\x8a\x09" + bytes(8) + b"\x01" + INT + b"s",
    "a key that is a float": b"}G" + bytes(8) + INT + b"s",
    "2^40 leaves": doubled(40),
    "2^40 leaves of lists": b"]q\x00" + b"".join(
        b"]q" + bytes([k]) + b"(h" + bytes([k - 1]) + b"h" + bytes([k - 1]) + b"e" for k in range(1, 41)
    ),
    "100,000 in each other": b")" + b"\x85" * 100_000,
    "a list that contains itself": b"]q\x00h\x00a",
    "a list that grows after it was used": b"]q\x00h\x00\x86h\x00" + INT + b"a\x86",
    "a dictionary that contains itself": b"}q\x00" + text("a") + b"h\x00s",
    "two million operations": b"(" + NONE * 2_000_000 + b"l",
    "text made again and again": b"(" + text("x" * 10**6) + b"q\x00" + b"c_codecs\nencode\nh\x00" + text("latin1")
    + b"\x86R" + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 100 + b"l",
    "a name": b"cposix\nsystem\n" + text("true") + b"\x85R",
    "a name of two parts": b"\x8c\x02os\x8c\x06system\x93",
    "a method of what is known": b"cnumpy\nndarray.tofile\n",
    "an object": b"(cposix\nsystem\n" + text("true") + b"o",
    "a new object": b"cnumpy\nndarray\n)\x81",
    "an extension": b"\x82\x01",
    "a state of a list": b"]}b",
    "a state of a constructor": b"cnumpy\ndtype\n}b",
    "a call of a text": text("a") + b")R",
    "a call of a type": b"cnumpy\nndarray\n)R",
    "an element of nothing": INT + b"a",
    "nothing": b"",
    "two values": INT + INT,
    "a mark that is left": b"(" + INT,
    "values below a mark": INT + INT + b"(\x86",
    "a memory of nothing": b"h\x07",
    "an object elsewhere": INT + b"Q",
    "half a pair": b"}(" + INT + b"u",
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_plain_data_is_refused_at_once_in_one_sentence(kind):
    start = time.monotonic()
    with pytest.raises(ValueError) as caught:
        read(HOSTILE[kind])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert time.monotonic() - start < 8


def array(shape=(2,), dtype=("u1", 0, 1), state=(3, "|", None, None, None, -1, -1, 0), raw=b"ab"):
    """A pickle of an array from its parts; each can be forged."""
    kind = b"cnumpy\ndtype\n" + plain(dtype) + b"R" + (b"" if state is None else plain(state) + b"b")
    head = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + plain((0,)) + plain(b"b") + b"\x87R"
    return head + b"(" + INT + plain(shape) + kind + plain(False) + plain(raw) + b"tb"


def plain(value):
    """A pickle without its beginning and end, and without a memory."""
    pickler = pickle.Pickler(buffer := io.BytesIO(), 3)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[2:-1]


def test_an_array_made_of_its_parts_is_read():
    np.testing.assert_array_equal(read(array()), [97, 98])
    np.testing.assert_array_equal(read(array(state=(3, ">", None, None, None, -1, -1, 255), dtype=("u2",))
                                       .replace(b"K\x02\x85", b"K\x01\x85")), [0x6162])  # fmt: skip


@pytest.mark.parametrize(
    "forged",
    [
        {"dtype": ("O8", 0, 1), "raw": bytes(16)},
        {"dtype": ("O", 0, 1), "raw": bytes(16)},
        {"dtype": ("V16", 0, 1), "raw": bytes(32)},
        {"dtype": ("i8,O", 0, 1), "raw": bytes(32)},
        {"dtype": ("M8", 0, 1), "raw": bytes(16)},
        {"dtype": ("U4", 0, 1), "raw": bytes(32)},
        {"dtype": ("V8", 0, 1), "state": (3, "|", None, ("a",), {"a": ("O8", 0)}, 8, 1, 0), "raw": bytes(16)},
        {"state": (3, "|", ("O8", (1,)), None, None, -1, -1, 0)},
        {"state": (3, "|", None, ("a",), {"a": 1}, 8, 1, 63)},
        {"state": (3, "!", None, None, None, -1, -1, 0)},
        {"state": ()},
        {"shape": (3,)},
        {"shape": (-2,)},
        {"shape": (2**62,), "raw": b""},
        {"shape": (2**39, 2**39), "raw": b""},
        {"shape": (1,) * 64, "raw": b"a"},
        {"shape": (True, 2)},
        {"shape": (2.0,)},
        {"shape": [2]},
        {"raw": "ab"},
        {"raw": [1, 2]},
        {"dtype": ("u1" * 1000,)},
        {"dtype": (7,)},
        {"dtype": ()},
    ],
    ids=str,
)
def test_a_forged_array_is_refused(forged):
    with pytest.raises(ValueError, match="^it has"):
        read(array(**forged))


def test_flags_of_a_type_are_never_believed():
    """A type of objects whose flags say that it has none made NumPy follow pointers of the file."""
    found = read(array(state=(3, "|", None, None, None, 8, 8, 255)))
    assert found.dtype == np.dtype("u1") and found.dtype.itemsize == 1


def test_an_array_without_its_state_is_none():
    found = read(b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + plain((0,)) + plain(b"b") + b"\x87R")
    assert not isinstance(found, np.ndarray)


def test_a_pickle_that_is_too_long_or_goes_on_is_refused():
    with pytest.raises(ValueError, match="pickle of 104 bytes, more than 50"):
        pickles.loads(b"\x80\x02X\x60\x00\x00\x00" + b"x" * 96 + b".", {}, max_bytes=50)
    with pytest.raises(ValueError, match="data after its end"):
        pickles.loads(b"\x80\x02N.N.", {})


def test_no_other_file_reads_pickles():
    """Except what a trainer writes for its own workers, in memory."""
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).parts
        if parts == ("data", "by_reference.py"):
            continue
        if parts[0] in ("tests", "benchmarks", "docs", "notebooks") or any(part.startswith(".") for part in parts):
            continue
        text = path.read_text(encoding="utf-8")
        if not any(word in text for word in ("pickle", "shelve", "marshal", "dill", "joblib", "np.load")):
            continue
        tree = ast.parse(text)
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not names & {"pickle", "_pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                is_numpy = isinstance(node.func.value, ast.Name) and node.func.value.id == "np"
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                assert not is_numpy or given["allow_pickle"].value is False, path
