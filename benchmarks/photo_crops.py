"""Writes a folder of images of mixed sizes and formats, to try the commands for one's own images.

    python -m benchmarks.photo_crops FOLDER

600 random crops of scikit-learn's two photographs, 40 to 89 pixels on a side, half of them PNG and half JPEG. The same
command writes the same images.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

NUM, SMALLEST, LARGEST = 600, 40, 89


def write_crops(folder: pathlib.Path, num: int = NUM, seed: int = 0) -> None:
    """Writes `num` crops as `0000.png`, `0001.jpg`, ... into `folder`, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    photos, draw = load_sample_images().images, np.random.default_rng(seed)
    for index in range(num):
        photo = photos[index % len(photos)]
        height, width = draw.integers(SMALLEST, LARGEST + 1, 2)
        top = draw.integers(0, photo.shape[0] - height + 1)
        left = draw.integers(0, photo.shape[1] - width + 1)
        crop = Image.fromarray(photo[top : top + height, left : left + width])
        crop.save(folder / f"{index:04d}.{'jpg' if index // 2 % 2 else 'png'}")


def main() -> None:
    """Writes them into the folder that the command names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    write_crops(folder)
    print(f"{NUM} images -> {folder}")


if __name__ == "__main__":
    main()
