"""The formats that are fuzzed: small valid files of each, made here, and the reader that a program uses for them."""

import importlib.util
import io
import json
import pathlib
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from core.errors import RunError
from data.published import open_records
from data.readers.inputs import read_array, read_examples, read_mask
from data.readers.own import open_own
from data.readers.samples import describe, read_batches
from data.source import Reading
from evaluation.metrics import reference
from interop.base import CheckpointFormatError

Files = dict[str, bytes]
DOCUMENTED = (ValueError, FileNotFoundError, CheckpointFormatError)
LIMIT = 2**20  # pixels of an image
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 12, 8, 3), np.uint8)


class Format(NamedTuple):
    """`cases(folder)`: valid files by name, made in an empty folder. `read(folder)`: reads those of one case."""

    cases: Callable[[pathlib.Path], list[Files]]
    read: Callable[[pathlib.Path], Any]
    needs: str = ""  # a package

    def is_available(self) -> bool:
        """Whether what it needs is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def is_documented(error: BaseException) -> bool:
    """Whether a reader says that it raises this: not some other library's error that is derived from one of these."""
    return isinstance(error, RunError) or type(error) in DOCUMENTED


# Data sets --------------------------------------------------------------------------------------------------------


def dataset(form: str, name: str = "", **options: Any) -> Callable[[pathlib.Path], None]:
    """Reads both splits of a data set, as training does."""

    def read(folder: pathlib.Path) -> None:
        reading = Reading(test_every=2, max_pixels=LIMIT, **options)
        for split in ("train", "test"):
            source = open_own(f"{form}:{folder / name}", split, reading)
            source.fetch(np.arange(min(len(source), 64)))

    return read


def saved(write: Callable[..., Any], *arguments: Any, **named: Any) -> bytes:
    """What a function writes to a file."""
    buffer = io.BytesIO()
    write(buffer, *arguments, **named)
    return buffer.getvalue()


def image(form: str, pixels: np.ndarray = PIXELS[0], **options: Any) -> bytes:
    """An image file."""
    return saved(Image.fromarray(pixels).save, form, **options)


def pngs() -> list[bytes]:
    """PNG files of all kinds."""
    palette = Image.fromarray(PIXELS[0]).quantize(7)
    gray = PIXELS[0][..., 0]
    exif = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 3, 1, 6) + bytes(4)
    return [
        image("PNG"), image("PNG", np.dstack([PIXELS[0], gray])), image("PNG", gray), image("PNG", gray > 99),
        image("PNG", gray.astype(np.uint16) * 99), saved(palette.save, "PNG", transparency=3), image("PNG", exif=exif),
    ]  # fmt: skip


def pictures(name: str, contents: Callable[[], list[bytes]]) -> Format:
    """A format of images, as input, mask, samples and data."""

    def read(folder: pathlib.Path) -> None:
        try:
            read_examples(folder / name, (12, 8, 3), 256, "crop", max_pixels=LIMIT)
            read_mask(folder / name, (12, 8, 3), "crop", LIMIT)
        finally:
            describe(folder, LIMIT)
            list(read_batches(folder, 2, LIMIT))

    return Format(lambda _: [{name: content} for content in contents()], read)


def cifar() -> list[Files]:
    """Batches of two images each, as pickles, in a folder and in an archive, and as rows."""
    rows = RNG.integers(0, 256, (2, 3072), np.uint8)
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    content = {b"data": rows, b"labels": [1, 2], b"batch_label": b"some", b"filenames": [b"a.png", b"b.png"]}
    pickles = {f"cifar-10-batches-py/{name}": pickle.dumps(content, 2 + k % 3) for k, name in enumerate(names)}
    binary = {f"cifar-10-batches-bin/{name}.bin": b"".join(b"\1" + row.tobytes() for row in rows) for name in names}
    return [pickles, pickles, binary]


def tarred(files: Files, mode: str = "w") -> bytes:
    """An archive of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: Files, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def images() -> Files:
    """Images in folders of classes."""
    return {f"{kind}/{k}.png": image("PNG", PIXELS[k]) for k in range(4) for kind in ("a", "b")}


def shards() -> Files:
    """Examples of a WebDataset."""
    found: Files = {}
    for k in range(4):
        found |= {f"{k}.jpg": image("JPEG", PIXELS[k]), f"{k}.cls": b"%d" % (k % 2), f"{k}.json": b'{"size": %d}' % k}
    return found


def table(folder: pathlib.Path) -> list[Files]:
    """Tables of images and labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    columns = {"image": [{"bytes": image("PNG", p), "path": ""} for p in PIXELS], "label": [0, 1, 0, 1], "x": [1.5] * 4}
    content = pa.table(columns)
    pq.write_table(content, folder / "a.parquet")
    with pa.ipc.new_stream(str(folder / "a.arrow"), content.schema) as writer:
        writer.write_table(content)
    return [{name: (folder / name).read_bytes()} for name in ("a.parquet", "a.arrow")]


def tfrecords() -> bytes:
    """Images as CelebA-HQ has them."""
    from data.published import masked_crc32c

    def entry(key: bytes, value: bytes) -> bytes:
        pair = b"\x0a" + bytes([len(key)]) + key + b"\x12" + varint(len(value)) + value
        return b"\x0a" + varint(len(pair)) + pair

    def varint(number: int) -> bytes:
        return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])

    content = b""
    for pixels in RNG.integers(0, 256, (3, 3, 8, 8), np.uint8):
        raw = pixels.tobytes()
        data = b"\x0a" + varint(3 + len(raw)) + b"\x0a" + varint(len(raw)) + raw
        features = entry(b"shape", b"\x1a\x05\x0a\x03\x03\x08\x08") + entry(b"data", data)
        payload = b"\x0a" + varint(len(features)) + features
        head = struct.pack("<Q", len(payload))
        content += head + struct.pack("<I", masked_crc32c(head)) + payload + bytes(4)
    return content


def read_records(folder: pathlib.Path) -> None:
    """All images of a file of records."""
    records = open_records(folder / "a-r03.tfrecords")
    list(records.read(np.arange(min(len(records), 64))))


def read_cifar(folder: pathlib.Path) -> None:
    """Both splits of a folder, or of the archive in it."""
    archive = folder / "cifar.tar.gz"
    for split in ("train", "test"):
        open_own(f"cifar10:{archive if archive.exists() else folder}", split, Reading())


def read_statistics(folder: pathlib.Path) -> None:
    """A file as statistics of features."""
    reference.load(folder / "a.npz", {"features": "x"})


def read_arrays(folder: pathlib.Path) -> None:
    """A file as an array, a mask and an input."""
    path = next(folder.iterdir())
    try:
        read_array(path)
        read_mask(path, (4, 4, 3))
    finally:
        read_examples(path, (4, 4, 3), 256)


LEVELS = RNG.integers(0, 256, (6, 4, 4, 3), np.uint8)
NPZ = [
    saved(np.savez, x=LEVELS, y=np.arange(6) % 2, size=np.arange(6.0)),
    saved(np.savez_compressed, x=LEVELS, name=np.array(list("ababab"))),
]
STATISTICS = [
    saved(np.savez, mu=np.zeros(3), sigma=np.eye(3), num=np.array(9), provenance=np.array('{"features": "x"}')),
    saved(np.savez_compressed, mu=np.zeros(3), sigma=np.eye(3)),
]

# Checkpoints and workdirs are in modules of their own, which import JAX where they are read.


def checkpoint(name: str) -> Format:
    """A format of `benchmarks.fuzz_checkpoints`."""

    def module() -> Any:
        from benchmarks import fuzz_checkpoints

        return fuzz_checkpoints

    return Format(lambda folder: module().CASES[name](folder), lambda folder: module().READERS[name](folder))


JPEGS = [
    image("JPEG"), image("JPEG", progressive=True),
    image("JPEG", PIXELS[0][..., 0], exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
]  # fmt: skip
WEBPS = [
    image("WEBP"), image("WEBP", lossless=True), image("WEBP", np.dstack([PIXELS[0], PIXELS[1][..., 0]])),
]  # fmt: skip
NPYS = [saved(np.save, LEVELS), saved(np.save, LEVELS / 7)]
INPUTS: list[Files] = [{"a.npy": saved(np.save, LEVELS[0])}, {"a.npz": saved(np.savez, LEVELS[0])}]
LINES = b"".join(b"%d.png,%d,%d\n" % (k, k % 2, k) for k in range(4))
FOLDER = {f"{k}.png": image("PNG", PIXELS[k]) for k in range(4)} | {"metadata.csv": b"file_name,label,size\n" + LINES}
ENCODED = {
    **{f"{split}.npy": saved(np.save, np.arange(8, dtype=np.uint8).reshape(4, 2)) for split in ("train", "test")},
    **{f"{split}_labels.npy": saved(np.save, np.arange(4)) for split in ("train", "test")},
    "encoded.json": json.dumps({"shape": [2], "num_codes": 9, "num_classes": 4}).encode(),
}
CHECKPOINTS = (
    "msgpack", "pth", "pth_legacy", "safetensors", "exported_npz", "orbax", "model", "workdir", "sweep",
)  # fmt: skip


def several(name: str, contents: list[bytes]) -> Callable[[pathlib.Path], list[Files]]:
    """Cases of one file each."""
    return lambda _: [{name: content} for content in contents]


FORMATS: dict[str, Format] = {
    "png": pictures("a.png", pngs),
    "jpeg": pictures("a.jpg", lambda: JPEGS),
    "webp": pictures("a.webp", lambda: WEBPS),
    "npy": Format(several("a.npy", NPYS), dataset("npy", "a.npy")),
    "npz": Format(several("a.npz", NPZ), dataset("npz", "a.npz")),
    "input": Format(lambda _: INPUTS, read_arrays),
    "statistics": Format(several("a.npz", STATISTICS), read_statistics),
    "cifar": Format(lambda _: [*cifar(), {"cifar.tar.gz": tarred(cifar()[0], "w:gz")}], read_cifar),
    "tfrecord": Format(several("a-r03.tfrecords", [tfrecords()]), read_records),
    "zip": Format(
        several("a.zip", [zipped(images(), kind) for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]),
        dataset("zip", "a.zip"),
    ),
    "tar": Format(several("a.tar", [tarred(shards())]), dataset("wds", "a.tar")),
    "folder": Format(lambda _: [FOLDER], dataset("folder")),
    "encoded": Format(lambda _: [ENCODED], dataset("encoded")),
    "tables": Format(table, dataset("hf"), needs="pyarrow"),
    **{name: checkpoint(name) for name in CHECKPOINTS},
}
