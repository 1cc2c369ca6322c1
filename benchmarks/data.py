"""Images per second read from a folder of JPEG files, compared with a torch.utils.data.DataLoader that does the same.

    python -m benchmarks.data [--workers 2] [--repeats 3] [--sizes 32 256]

Both decode a file, crop the largest centered square, resize it (Pillow, bicubic), flip half of the images, and form
batches of 64 in random order. Our pipeline runs with threads, with as many processes as the DataLoader, and with
decoded records (`data.cache_dir`). The readers alternate. Prints one JSON line per reader, with the median and spread
over the repeats. Needs PyTorch: `pip install torch`.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags
from PIL import Image
from sklearn.datasets import load_sample_image

from data.pipeline import train_batches
from data.readers.containers import Folder
from data.readers.folders import open_folder
from data.readers.image_files import ImageFiles
from data.source import Reading, Source

BATCH = 64
# image size: (height and width of the files, number of files, number of timed batches)
CASES = {32: ((40, 48), 4000, 60), 256: ((320, 384), 640, 12)}
WARM_UP = 4  # batches that are read first, some of them prefetched


def main() -> None:
    """Measures all readers and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="number of processes or threads per reader")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--files", type=int, help="number of files; by default 4000 for size 32 and 640 for 256")
    parser.add_argument("--batches", type=int, help="number of timed batches; by default 60 for size 32 and 12 for 256")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(CASES), choices=CASES)
    args = parser.parse_args()
    flags.FLAGS(["data"])  # Grain's worker processes read absl's flags
    try:
        import torch
    except ImportError:
        raise SystemExit(
            "benchmarks.data compares with PyTorch, which is not installed: `pip install torch`."
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            sides, num, batches = CASES[size]
            root = pathlib.Path(folder) / str(size)
            num, batches = args.files or num, args.batches or batches
            write_images(root, sides, num)
            readers = {
                "torch DataLoader": functools.partial(with_torch, root, size, args.workers),
                "threads": functools.partial(with_ours, decoding_source(root, size), {"num_threads": args.workers}),
                "processes": functools.partial(with_ours, decoding_source(root, size), {"num_workers": args.workers}),
                "records": functools.partial(
                    with_ours, folder_source(root, size, f"{folder}/cache"), {"num_threads": args.workers}
                ),
            }
            rates: dict[str, list[float]] = {name: [] for name in readers}
            for _ in range(args.repeats):
                for name, reader in readers.items():
                    rates[name].append(reader(functools.partial(throughput, batches)))
            for name, values in rates.items():
                line = {
                    "reader": name,
                    "size": size,
                    "images_per_second": round(statistics.median(values)),
                    "spread": round(max(values) - min(values)),
                    "workers": args.workers,
                    "machine": platform.machine(),
                    "torch": torch.__version__,
                }
                print(json.dumps(line), flush=True)


def write_images(root: pathlib.Path, sides: tuple[int, int], num: int) -> None:
    """Writes JPEG files with random crops of scikit-learn's two photographs."""
    root.mkdir()
    rng, photos = np.random.default_rng(0), [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    for index in range(num):
        photo = photos[index % 2]
        top, left = (rng.integers(0, length - side + 1) for length, side in zip(photo.shape, sides, strict=False))
        crop = photo[top : top + sides[0], left : left + sides[1]]
        Image.fromarray(crop).save(root / f"{index:05d}.jpg", quality=90)


def folder_source(root: pathlib.Path, size: int, cache_dir: str | None = None) -> Source:
    """The folder as a data source; decoded once, unless its pixels exceed the memory limit."""
    return open_folder(str(root), "train", Reading(image_size=size, resize="crop", test_every=0, cache_dir=cache_dir))


def decoding_source(root: pathlib.Path, size: int) -> Source:
    """The same, but every image is decoded each time it is read, like a folder that does not fit into memory."""
    source = folder_source(root, size)
    fetch: Any = source.fetch
    fetch = getattr(fetch, "source", source).fetch
    assert isinstance(fetch, ImageFiles) and isinstance(fetch.files, Folder)
    return dataclasses.replace(source, fetch=fetch)


def with_ours(source: Source, options: dict[str, int], measure: Callable[[Iterator[Any]], float]) -> float:
    """Images per second of our pipeline."""
    with train_batches(source, seed=0, batch_size=BATCH, random_flip=True, **options) as batches:
        return measure(batches)


class TorchFolder:
    """The same work as a map-style PyTorch data set."""

    def __init__(self, root: pathlib.Path, size: int):
        self.files, self.size = sorted(root.iterdir()), size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        with Image.open(self.files[index], formats=["JPEG"]) as file:
            image = file.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        pixels = np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC))
        return np.ascontiguousarray(pixels[:, ::-1]) if random.random() < 0.5 else pixels.copy(), 0


def with_torch(root: pathlib.Path, size: int, workers: int, measure: Callable[[Iterator[Any]], float]) -> float:
    """Images per second of the DataLoader, which samples with replacement so that the epoch does not end."""
    from torch.utils.data import DataLoader, RandomSampler

    data: Any = TorchFolder(root, size)
    sampler = RandomSampler(data, replacement=True, num_samples=10**6)
    return measure(iter(DataLoader(data, batch_size=BATCH, sampler=sampler, num_workers=workers)))


def throughput(num: int, batches: Iterator[Any]) -> float:
    """Images per second over `num` batches, after `WARM_UP` batches that are not timed."""
    for _ in range(WARM_UP):
        next(batches)
    began = time.perf_counter()
    for _ in range(num):
        next(batches)
    return num * BATCH / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
