"""Data given by a path: image files and arrays in the forms that a user may give."""

import io
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy as np
from PIL import Image

from data import pipeline, stock
from data.source import Reading

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 6, 4, 3), np.uint8)  # twelve images of 6x4 pixels
ARRAYS = {
    "vectors": np.arange(60, dtype=np.uint8).reshape(20, 3),
    "series": np.random.default_rng(0).normal(size=(20, 7, 2)),
    "images": np.arange(20 * 12, dtype=np.uint16).reshape(20, 3, 4, 1) * 200,
    "volumes": np.zeros((20, 2, 3, 4, 5), bool),
}


def opened(dataset, split="train", **reading):
    return stock.load(dataset, split, reading=Reading(**reading))


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def png16(path, values, orientation=None):
    """Writes [H, W, C] uint16, C = 1 to 4, as a PNG of 16 bits, which Pillow cannot; filtered, as encoders do."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    raw = np.frombuffer(values.astype(">u2").tobytes(), np.uint8).reshape(height, width, 2 * channels)
    left = np.concatenate([np.zeros_like(raw[:, :1]), raw[:, :-1]], axis=1)  # filter 1: differences to the left
    rows = b"".join(b"\1" + row.tobytes() for row in raw - left)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    turned = [(b"eXIf", b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 3, 1, orientation or 1) + bytes(4))]
    chunks = [(b"IHDR", header), *(turned if orientation else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def everything(source):
    return source.fetch(np.arange(len(source)))


def zipped(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


CIFAR = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), np.uint8)


def cifar_files(kind, evil=None):
    """{name: bytes} of an archive of twelve images, two in each batch."""
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for k, name in enumerate(names):
        rows = CIFAR[2 * k : 2 * k + 2].transpose(0, 3, 1, 2).reshape(2, 3072)
        labels = [(2 * k) % 10, (2 * k + 1) % 10]
        if kind == "binary":
            yield (
                f"cifar-10-batches-bin/{name}.bin",
                b"".join(struct.pack("B", y) + row.tobytes() for y, row in zip(labels, rows, strict=True)),
            )
        else:
            content = {b"data": rows, b"labels": labels, b"batch_label": b"some"}
            yield f"cifar-10-batches-py/{name}", pickle.dumps(evil if evil and k == 0 else content, protocol=2)


def archive(tmp_path, kind, form, **options):
    root = tmp_path / f"cifar-10-{kind}.tar.gz"
    if form == "folder":
        for name, content in cifar_files(kind, **options):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return tmp_path
    with tarfile.open(root, "w:gz") as tar:
        for name, content in cifar_files(kind, **options):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return root


def forms(tmp_path, folder):
    """{kind: how a source of it is opened}."""
    np.save(tmp_path / "x.npy", ARRAYS["images"])
    np.savez(tmp_path / "x.npz", x=ARRAYS["series"], tokens=np.arange(60).reshape(20, 3))
    return {
        "folder": lambda: opened(f"folder:{folder}"),
        "records": lambda: opened(f"folder:{folder}", cache_dir=str(tmp_path / "cache")),
        "zip": lambda: opened(f"zip:{zipped(folder)}"),
        "npy": lambda: opened(f"npy:{tmp_path}/x.npy"),
        "npz": lambda: opened(f"npz:{tmp_path}/x.npz"),
        "cifar10": lambda: opened(f"cifar10:{archive(tmp_path, 'binary', 'archive')}"),
    }


def batches_of(source, count, **options):
    options |= {"seed": 3, "batch_size": 8, "start_step": 5, "random_flip": len(source.shape) == 3}
    with pipeline.train_batches(source, **options) as batches:
        return [next(batches) for _ in range(count)]
