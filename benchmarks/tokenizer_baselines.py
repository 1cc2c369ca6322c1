"""PSNR of k-means on 2x2 patches of the digits, the simplest tokenizer, for the same data split as the others.

    python -m benchmarks.tokenizer_baselines [--codes 16 64 128] [--depth=1]

The clusters are those of the training patches, the best of four starts; at each further depth those of what the ones
before have left. Prints JSON lines: the mean over test images in dB, as `--mode=eval` has it, and the PSNR of the mean
squared error.
"""

import argparse
import json

import jax.numpy as jnp
import numpy as np
from sklearn.cluster import KMeans

from data.sets import digits
from evaluation.metrics.psnr import psnr_db
from models.networks.autoencoder import to_patches

CODES = (16, 64, 128)


def patches(split: str) -> np.ndarray:
    """The 2x2 patches of all images in [0, 1], [N, 16, 4]."""
    source = digits.source(split)
    x = source.fetch(np.arange(len(source)))["x"] / (digits.NUM_LEVELS - 1)
    return np.asarray(to_patches(jnp.asarray(x), 2), np.float64).reshape(len(x), -1, 4)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=int, nargs="+", default=CODES)
    parser.add_argument("--depth", type=int, default=1, help="codes that are added up, each of what is left")
    train, test = patches("train"), patches("test")
    given = parser.parse_args()
    for num_codes in given.codes:
        known, left = train.reshape(-1, 4), test.reshape(-1, 4)
        for depth in range(1, given.depth + 1):
            found = KMeans(num_codes, n_init=4, random_state=0).fit(known)
            known = known - found.cluster_centers_[found.labels_]
            left = left - found.cluster_centers_[found.predict(left)]
            restored = test - left.reshape(test.shape)
            each = psnr_db(restored, test)
            line = {
                "codes": num_codes,
                "depth": depth,
                "psnr_db": float(each.mean()),
                "standard_error": float(each.std(ddof=1) / len(each) ** 0.5),
                "psnr_db_of_mean": float(-10 * np.log10(((restored - test) ** 2).mean())),
            }
            print(json.dumps(line))


if __name__ == "__main__":
    main()
