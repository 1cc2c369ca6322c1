"""Hostile tables, TFRecord files, data sets of TFDS, and caches of decoded examples."""

import json
import os
import pathlib
import random
import shutil
import struct

from benchmarks.hostile.arrays import DEEP, flipped, sparse
from benchmarks.hostile.kinds import Kind, Make
from benchmarks.hostile.pictures import EPS
from benchmarks.hostile.tars import png
from data.published import masked_crc32c


def table(
    path: pathlib.Path, rows: int = 20, *, compression: str = "none", metadata: bytes = b"", **columns: object
) -> None:
    """A table of images, as Parquet or Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = pa.array([{"bytes": png(8, number), "path": None} for number in range(rows)])
    found = pa.table({"image": images, "label": pa.array([number % 2 for number in range(rows)]), **columns})
    if metadata:
        found = found.replace_schema_metadata({b"huggingface": metadata})
    if path.suffix == ".parquet":
        pq.write_table(found, path, compression=compression)
        return
    options = pa.ipc.IpcWriteOptions(compression=None if compression == "none" else compression)
    with pa.ipc.new_stream(str(path), found.schema, options=options) as writer:
        writer.write_table(found)


def changed(start: float, end: float) -> Make:
    """A table with a flipped bit between two parts of it."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        table(path)
        flipped(path.read_bytes(), start, end)(path, rng)

    return make


def shortened(path: pathlib.Path, rng: random.Random) -> None:
    """A table that is cut off."""
    table(path)
    os.truncate(path, rng.randrange(8, path.stat().st_size))


def repeated(path: pathlib.Path, rng: random.Random) -> None:
    """Twenty thousand rows with one text of a megabyte, which is in the file once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array([png(8)], pa.binary()))
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"image": image, "text": text}), path, compression="zstd", store_schema=False)


def repeated_numbers(path: pathlib.Path, rng: random.Random) -> None:
    """Forty million rows of one number, which are in the file once."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = pa.array(np.zeros(4 * 10**6))
    with pq.ParquetWriter(path, pa.schema({"a": pa.float64()}), compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(pa.table({"a": numbers}))


def packed(path: pathlib.Path, rng: random.Random) -> None:
    """Images with zeros behind them that are compressed ten thousand times."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = pa.array([png(8, number) + bytes(2**24) for number in range(20)], pa.binary())
    pq.write_table(pa.table({"image": images}), path, compression="zstd", use_dictionary=False)


def packed_batch(path: pathlib.Path, rng: random.Random) -> None:
    """An Arrow file of images with zeros behind them, compressed."""
    import pyarrow as pa

    images = pa.array([png(8, number) + bytes(2**24) for number in range(20)], pa.binary())
    table = pa.table({"image": images})
    with pa.ipc.new_stream(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)


def lying(path: pathlib.Path, rng: random.Random) -> None:
    """A compressed Arrow file with a buffer that says that it has terabytes."""
    table(path, compression="lz4")
    content = path.read_bytes()
    said = struct.pack("<q", sum(len(png(8, number)) for number in range(20)))
    before, found, after = content.rpartition(said)
    assert found
    path.write_bytes(before + struct.pack("<q", 2**43) + after)


def offsets(path: pathlib.Path, rng: random.Random) -> None:
    """An Arrow file whose offsets lead outside."""
    table(path)
    content = path.read_bytes()
    first, second = len(png(8, 0)), len(png(8, 1))
    before, _, after = content.partition(struct.pack("<iii", 0, first, first + second))
    path.write_bytes(before + struct.pack("<iii", 0, 2**30, 2**31 - 1) + after)


def noted(metadata: bytes) -> Make:
    """A table with this note of the library datasets."""
    return lambda path, rng: table(path, metadata=metadata)


# TFRecord ---------------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def message(number: int, content: bytes) -> bytes:
    """A field of protobuf that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(shape: bytes, data: bytes) -> bytes:
    """A `tf.train.Example` of an image; shape: the numbers of its shape."""
    features = {b"shape": message(3, message(1, shape)), b"data": message(1, message(1, data))}
    return message(1, b"".join(message(1, message(1, key) + message(2, value)) for key, value in features.items()))


def record(payload: bytes, length: int | None = None) -> bytes:
    """A record of a TFRecord file, with the right checksum of a length that may be wrong."""
    header = struct.pack("<Q", len(payload) if length is None else length)
    return header + struct.pack("<I", masked_crc32c(header)) + payload + bytes(4)


GOOD = record(example(b"\3\x08\x08", bytes(192)))


def records(*parts: bytes) -> Make:
    """A TFRecord file: a good record, and others."""
    return lambda path, rng: path.write_bytes(GOOD + b"".join(parts))


# Prepared by TFDS -------------------------------------------------------------------------------------------------


def prepared(class_name: str, **others: str) -> Make:
    """A folder that calls itself prepared; class_name: what its images say they are. others: contents of files."""
    features = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": {
                    "pythonClassName": class_name,
                    "image": {"shape": {"dimensions": ["8", "8", "3"]}, "dtype": "uint8", "encodingFormat": "png"},
                }
            }
        },
    }
    about = {
        "name": "own", "version": "1.0.0", "fileFormat": "array_record",
        "splits": [{"name": "train", "shardLengths": ["4"], "numBytes": "100"}],
    }  # fmt: skip

    def make(path: pathlib.Path, rng: random.Random) -> None:
        folder = path / "own" / "1.0.0"
        folder.mkdir(parents=True)
        files = {"features.json": json.dumps(features), "dataset_info.json": json.dumps(about), **others}
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / "own-train.array_record-00000-of-00001").write_bytes(EPS)

    return make


def cached(change: Make) -> Make:
    """A copy of the shared cache, in which each file is changed."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        shutil.copytree(path.parent.parent / "cache", path)
        for file in sorted(path.glob("*.array_record")):
            change(file, rng)

    return make


def piped(path: pathlib.Path, rng: random.Random) -> None:
    """A pipe in place of the file."""
    path.unlink()
    os.mkfifo(path)


IMAGE = "tensorflow_datasets.core.features.image_feature.Image"
KINDS = {
    "parquet: no table": Kind("a.parquet", "hf", lambda path, rng: path.write_bytes(b"PAR1" + bytes(100) + b"PAR1")),
    "parquet: a flipped bit in the values": Kind("a.parquet", "hf", changed(0, 0.7), True),
    "parquet: a flipped bit in the footer": Kind("a.parquet", "hf", changed(0.7, 1), True),
    "parquet: cut off": Kind("a.parquet", "hf", shortened),
    "parquet: gigabytes of zeros": Kind("a.parquet", "hf", packed),
    "parquet: one text in twenty thousand rows": Kind("a.parquet", "hf", repeated),
    "parquet: notes nested deep": Kind("a.parquet", "hf", noted(DEEP.encode()), True),
    "parquet: notes that are a list": Kind("a.parquet", "hf", noted(b"[1]"), True),
    "parquet: notes without names": Kind(
        "a.parquet",
        "hf",
        noted(b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": 7}, "image": 3}}}'),
        True,
    ),
    "arrow: a flipped bit": Kind("a.arrow", "hf", changed(0, 1), True),
    "arrow: gigabytes of zeros": Kind("a.arrow", "hf", packed_batch),
    "arrow: a buffer that says terabytes": Kind("a.arrow", "hf", lying),
    "arrow: cut off": Kind("a.arrow", "hf", shortened, True),
    "arrow: offsets that lead outside": Kind("a.arrow", "hf", offsets),
    "arrow: a pipe": Kind("a.arrow", "hf", lambda path, rng: os.mkfifo(path)),
    "tfrecords: a number of megabytes": Kind(
        "a.tfrecords", "tfrecords", records(record(example(b"\xff" * 2**22 + b"\1", b"")))
    ),
    "tfrecords: a shape of a million axes": Kind(
        "a.tfrecords", "tfrecords", records(record(example(varint(2**62) * 10**6, b"")))
    ),
    "tfrecords: a length of exabytes": Kind("a.tfrecords", "tfrecords", records(record(b"", 2**63 - 1))),
    "tfrecords: a length of a terabyte in a hole": Kind(
        "a.tfrecords",
        "tfrecords",
        sparse(record(b"", 2**40), 2**40 + 16),
    ),
    "tfrecords: a tag of megabytes": Kind("a.tfrecords", "tfrecords", records(record(b"\xff" * 2**22))),
    "tfrecords: groups nested deep": Kind("a.tfrecords", "tfrecords", records(record(b"\x0b" * 2**20))),
    "tfrecords: a negative shape": Kind(
        "a.tfrecords", "tfrecords", records(record(example(b"\xff" * 9 + b"\1" + b"\x08\x08", b"")))
    ),
    "tfrecords: empty": Kind("a.tfrecords", "tfrecords", lambda path, rng: path.write_bytes(b"")),
    "tfrecords: a flipped bit": Kind("a.tfrecords", "tfrecords", flipped(GOOD * 9, 0, 0.9), True),
    "tfds: features of a package that opens a browser": Kind("data", "tfds", prepared("antigravity.Image")),
    "tfds: features of another package": Kind("data", "tfds", prepared("idlelib.idle.Image")),
    "tfds: records that are PostScript": Kind("data", "tfds", prepared(IMAGE)),
    "tfds: features nested deep": Kind("data", "tfds", prepared(IMAGE, **{"features.json": DEEP})),
    "tfds: information that is a list": Kind("data", "tfds", prepared(IMAGE, **{"dataset_info.json": "[]"})),
    "cache: emptied": Kind("kept", "cache", cached(lambda path, rng: path.write_bytes(b"")), True),
    "cache: cut off": Kind(
        "kept", "cache", cached(lambda path, rng: os.truncate(path, path.stat().st_size // 2)), True
    ),
    "cache: zeros": Kind("kept", "cache", cached(lambda path, rng: path.write_bytes(bytes(path.stat().st_size))), True),
    "cache: a flipped bit": Kind(
        "kept", "cache", cached(lambda path, rng: flipped(path.read_bytes())(path, rng)), True
    ),
    "cache: a pipe": Kind("kept", "cache", cached(piped), True),
}
