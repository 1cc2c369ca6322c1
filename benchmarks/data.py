"""ImageFiles a second from a folder of JPEG files, beside a torch.utils.data.DataLoader that does the same work.

    python -m benchmarks.data [--workers 2] [--repeats 3] [--sizes 32 256]

Both decode, crop the largest central square, resize it (Pillow, bicubic), flip half of the pictures and make batches of
64, in a random order. Ours reads by threads, by as many processes as the DataLoader has, and from decoded records
(`data.cache_dir`). One JSON line each: the median of the repeats, which take turns, and their spread.
"""

import argparse
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
from data.readers.folders import Folder, ImageFiles, open_folder
from data.source import Reading, Source

BATCH = 64
# side of the examples: (height and width of the files, how many, batches that are timed)
CASES = {32: ((40, 48), 4000, 60), 256: ((320, 384), 640, 12)}
WARM_UP = 4  # batches


def main() -> None:
    """Prints the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes, and threads, of each reader")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--files", type=int, help="of each size; 4000 of 32 pixels, 640 of 256 by default")
    parser.add_argument("--batches", type=int, help="that are timed; 60 of 32 pixels, 12 of 256 by default")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(CASES), choices=CASES)
    args = parser.parse_args()
    flags.FLAGS(["data"])  # grain's processes read absl's flags
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
            write_pictures(root, sides, num)
            readers = {
                "torch DataLoader": functools.partial(with_torch, root, size, args.workers),
                "threads": functools.partial(with_ours, decoding(root, size), {"num_threads": args.workers}),
                "processes": functools.partial(with_ours, decoding(root, size), {"num_workers": args.workers}),
                "records": functools.partial(
                    with_ours, opened(root, size, f"{folder}/cache"), {"num_threads": args.workers}
                ),
            }
            found: dict[str, list[float]] = {name: [] for name in readers}
            for _ in range(args.repeats):
                for name, reader in readers.items():
                    found[name].append(reader(functools.partial(rate, batches)))
            for name, rates in found.items():
                line = {
                    "reader": name,
                    "size": size,
                    "images_per_second": round(statistics.median(rates)),
                    "spread": round(max(rates) - min(rates)),
                    "workers": args.workers,
                    "machine": platform.machine(),
                    "torch": torch.__version__,
                }
                print(json.dumps(line), flush=True)


def write_pictures(root: pathlib.Path, sides: tuple[int, int], num: int) -> None:
    """JPEG files of crops of scikit-learn's two photographs."""
    root.mkdir()
    draw, photos = np.random.default_rng(0), [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    for index in range(num):
        photo = photos[index % 2]
        top, left = (draw.integers(0, whole - side + 1) for whole, side in zip(photo.shape, sides, strict=False))
        crop = photo[top : top + sides[0], left : left + sides[1]]
        Image.fromarray(crop).save(root / f"{index:05d}.jpg", quality=90)


def opened(root: pathlib.Path, size: int, cache_dir: str | None = None) -> Source:
    """The folder as a data set."""
    return open_folder(str(root), "train", Reading(image_size=size, resize="crop", test_every=0, cache_dir=cache_dir))


def decoding(root: pathlib.Path, size: int) -> Source:
    """The same, every picture decoded each time it is read, as where they do not fit into memory."""
    source = opened(root, size)
    fetch: Any = source.fetch
    fetch = getattr(fetch, "source", source).fetch
    assert isinstance(fetch, ImageFiles) and isinstance(fetch.files, Folder)
    return Source(source.name, len(source), source.shape, source.num_levels, source.num_classes, fetch)


def with_ours(source: Source, options: dict[str, int], measure: Callable[[Iterator[Any]], float]) -> float:
    """Images a second of our reader."""
    with train_batches(source, seed=0, batch_size=BATCH, random_flip=True, **options) as batches:
        return measure(batches)


class Loaded:
    """The same work, as a map-style data set of PyTorch."""

    def __init__(self, root: pathlib.Path, size: int):
        self.files, self.size = sorted(root.iterdir()), size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        with Image.open(self.files[index]) as file:
            picture = file.convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
        pixels = np.asarray(picture.resize((self.size, self.size), Image.Resampling.BICUBIC))
        return np.ascontiguousarray(pixels[:, ::-1]) if random.random() < 0.5 else pixels.copy(), 0


def with_torch(root: pathlib.Path, size: int, workers: int, measure: Callable[[Iterator[Any]], float]) -> float:
    """Images a second of the DataLoader; it draws with replacement, so that no epoch ends."""
    from torch.utils.data import DataLoader, RandomSampler

    data: Any = Loaded(root, size)
    sampler = RandomSampler(data, replacement=True, num_samples=10**6)
    return measure(iter(DataLoader(data, batch_size=BATCH, sampler=sampler, num_workers=workers)))


def rate(num: int, batches: Iterator[Any]) -> float:
    """Images a second of `num` batches, after those that are there when it begins."""
    for _ in range(WARM_UP):
        next(batches)
    began = time.perf_counter()
    for _ in range(num):
        next(batches)
    return num * BATCH / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
