"""Hostile checkpoints to import, and models that stand alone."""

import json
import os
import pathlib
import random
import shutil
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from benchmarks.hostile.arrays import DEEP, PICKLED, archive, content, flipped, sparse
from benchmarks.hostile.kinds import Kind, Make
from benchmarks.hostile.tars import NESTED
from benchmarks.hostile.zips import overlapping, zero_bomb, zipped
from training.model_folder import ABOUT, CONFIG, PARAMS, sha256_of, write_about


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str = "F32", shape: tuple[int, ...] = (2,), span: tuple[int, int] = (0, 8)) -> dict[str, Any]:
    """What a header says of a tensor."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(span)}


def packed(**entries: object) -> bytes:
    """A training state as msgpack."""
    state = {"step": 1, "optimizer": {"target": {"a": 1}}, "params_ema": {"a": 1}, **entries}
    return msgpack.packb(state, use_bin_type=True)


def array(shape: object, dtype: str, data: bytes) -> msgpack.ExtType:
    """An array as Flax writes it."""
    return msgpack.ExtType(1, msgpack.packb((shape, dtype, data)))


def torch(program: bytes, storage: bytes = b"") -> Make:
    """A checkpoint of PyTorch with this pickle."""
    return zipped({"a/data.pkl": program, "a/data/0": storage})


def model(change: Callable[[pathlib.Path, random.Random], object], *, hashed: bool = False) -> Make:
    """A copy of a good model, changed; hashed: with the hashes of what it has then."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        shutil.copytree(path.parent.parent / "good.model", path)
        change(path, rng)
        if hashed:
            about = json.loads((path / ABOUT).read_text())
            about.pop("checksum")
            about["sha256"] = {name: sha256_of(path / name) for name in about["sha256"]}
            write_about(path, about)

    return make


def _params(data: bytes) -> Callable[[pathlib.Path, random.Random], object]:
    return lambda path, rng: (path / PARAMS).write_bytes(data)


def _config(**settings: object) -> Callable[[pathlib.Path, random.Random], object]:
    def change(path: pathlib.Path, rng: random.Random) -> None:
        config = json.loads((path / CONFIG).read_text())
        for key, value in settings.items():
            section, _, name = key.partition("_")
            config[section][name] = value
        (path / CONFIG).write_text(json.dumps(config))

    return change


def _replaced(name: str, kind: Callable[[pathlib.Path], object]) -> Callable[[pathlib.Path, random.Random], object]:
    def change(path: pathlib.Path, rng: random.Random) -> None:
        (path / name).unlink()
        kind(path / name)

    return change


PAIR = {"a": np.zeros(2, np.float32)}
KINDS = {
    "safetensors: float8": Kind(
        "a.safetensors", "import", content(safetensors({"a": tensor("F8_E4M3", (8,))}, bytes(8)))
    ),
    "safetensors: float4": Kind("a.safetensors", "import", content(safetensors({"a": tensor("F4", (16,))}, bytes(8)))),
    "safetensors: an unknown dtype": Kind(
        "a.safetensors", "import", content(safetensors({"a": tensor("X9")}, bytes(8)))
    ),
    "safetensors: tensors that overlap": Kind(
        "a.safetensors", "import", content(safetensors({"a": tensor(), "b": tensor(span=(4, 12))}, bytes(12)))
    ),
    "safetensors: offsets beyond the end": Kind(
        "a.safetensors", "import", content(safetensors({"a": tensor(shape=(2**40,), span=(0, 2**42))}, bytes(8)))
    ),
    "safetensors: a shape that overflows": Kind(
        "a.safetensors", "import", content(safetensors({"a": tensor(shape=(2**62, 2**62, 2))}, bytes(8)))
    ),
    "safetensors: a header of exabytes": Kind("a.safetensors", "import", content(safetensors(b'{"a":', length=2**62))),
    "safetensors: a header of 40 MB": Kind(
        "a.safetensors", "import", content(safetensors(b'{"__metadata__": {"a": "' + b"x" * (40 * 2**20) + b'"}}'))
    ),
    "safetensors: a header nested deep": Kind(
        "a.safetensors", "import", content(safetensors(b'{"a": ' + DEEP.encode() + b"}"))
    ),
    "safetensors: a name and its beginning": Kind(
        "a.safetensors", "import", content(safetensors({"a": tensor(), "a/b": tensor(span=(8, 16))}, bytes(16)))
    ),
    "safetensors: no values in 2^60 rows": Kind(
        "a.safetensors", "import", content(safetensors({"a": tensor(shape=(2**60, 0), span=(0, 0))}))
    ),
    "msgpack: a list of four billion": Kind(
        "checkpoint_1", "import", content(packed(extra=1)[:-1] + b"\xdd\xff\xff\xff\xff")
    ),
    "msgpack: a text of 4 GB": Kind("checkpoint_1", "import", content(b"\x81\xa4step\xdb\xff\xff\xff\xffabc")),
    "msgpack: maps nested deep": Kind("checkpoint_1", "import", content(b"\x81\xa1a" * 100_000 + b"\xc0")),
    "msgpack: an array of petabytes": Kind(
        "checkpoint_1", "import", content(packed(params_ema={"a": array((2**50,), "float32", b"")}))
    ),
    "msgpack: an array of objects": Kind(
        "checkpoint_1", "import", content(packed(params_ema={"a": array((1,), "O", bytes(8))}))
    ),
    "msgpack: an array of texts": Kind(
        "checkpoint_1", "import", content(packed(params_ema={"a": array((1,), "<U2", bytes(8))}))
    ),
    "msgpack: pieces that are none": Kind(
        "checkpoint_1",
        "import",
        content(packed(params_ema={"__msgpack_chunked_array__": True, "shape": 7, "chunks": 3})),
    ),
    "msgpack: a step that is not a number": Kind("checkpoint_1", "import", content(packed(step=float("nan")))),
    "msgpack: a sparse terabyte": Kind("checkpoint_1", "import", sparse(b"\x83", 2**40)),
    "msgpack: a hole of a terabyte": Kind("checkpoint_1", "import", sparse(b"", 2**40)),
    "npz: gigabytes of zeros as parameters": Kind("a.npz", "import", zero_bomb("a.npy", 5 * 2**30)),
    "npz: parameters that overlap": Kind("a.npz", "import", overlapping(".npy", 300)),
    "npz: parameters with a flipped bit": Kind("a.npz", "import", flipped(archive(**PAIR), 0.2, 0.6)),
    "npz: parameters that are complex": Kind("a.npz", "import", content(archive(a=np.zeros(2, complex)))),
    "torch: code": Kind("a.pth", "import", torch(PICKLED)),
    "torch: gigabytes of zeros": Kind("a.pth", "import", zero_bomb("a/data.pkl", 5 * 2**30)),
    "torch: keys that are nested tuples": Kind("a.pth", "import", torch(NESTED)),
    "torch: a pickle alone": Kind("a.pth", "import", content(PICKLED)),
    "torch: a memo of gigabytes": Kind("a.pth", "import", torch(b"\x80\x02}r\xff\xff\xff\x7f.")),
    "import: a pipe": Kind("checkpoint_1", "import", lambda path, rng: os.mkfifo(path)),
    "model: notes nested deep": Kind("a.model", "model", model(lambda path, rng: (path / ABOUT).write_text(DEEP))),
    "model: notes that are a list": Kind("a.model", "model", model(lambda path, rng: (path / ABOUT).write_text("[1]"))),
    "model: notes of a sparse terabyte": Kind(
        "a.model", "model", model(lambda path, rng: os.truncate(path / ABOUT, 2**40))
    ),
    "model: notes that are a pipe": Kind("a.model", "model", model(_replaced(ABOUT, os.mkfifo))),
    "model: notes that are a folder": Kind("a.model", "model", model(_replaced(ABOUT, os.mkdir))),
    "model: a config that is a pipe": Kind("a.model", "model", model(_replaced(CONFIG, os.mkfifo))),
    "model: a config with large numbers": Kind(
        "a.model",
        "model",
        model(_config(model_nf=10**400, data_shape=[2**62] * 9), hashed=True),
        named="config.data.shape",
    ),
    "model: a config with other types": Kind(
        "a.model", "model", model(_config(model_name={"a": 1}, data_dataset=[[]]), hashed=True), named="config."
    ),
    "model: a config that names code": Kind(
        "a.model", "model", model(_config(model_name="antigravity:Image"), hashed=True), named="config.model.name"
    ),
    "model: features that name code": Kind(
        "a.model", "model", model(_config(eval_features="antigravity:Image"), hashed=True), True
    ),
    "model: data that name code": Kind(
        "a.model", "model", model(_config(data_dataset="antigravity:source"), hashed=True), True
    ),
    "model: parameters with a flipped bit": Kind(
        "a.model", "model", model(lambda path, rng: flipped((path / PARAMS).read_bytes())(path / PARAMS, rng))
    ),
    "model: parameters of another network": Kind(
        "a.model", "model", model(_params(safetensors({"b": tensor()}, bytes(8))), hashed=True)
    ),
    "model: parameters of float8": Kind(
        "a.model", "model", model(_params(safetensors({"a": tensor("F8_E4M3", (8,))}, bytes(8))), hashed=True)
    ),
    "model: parameters that are a pipe": Kind("a.model", "model", model(_replaced(PARAMS, os.mkfifo))),
}
