"""Soft ellipsoids in a cube: volumes without any download, each a function of its number.

16x16x16 voxels with 16 levels: one to three ellipsoids with random centers, half-axes and directions, bright inside and
dark outside with a soft surface; where two of them overlap, the brighter one is visible.
"""

import numpy as np

from data.fields import Field, labeled
from data.sets.order import shuffled
from data.source import Examples, Source, cached

SIZE, NUM_LEVELS = 16, 16
NUM_EXAMPLES = {"train": 2000, "test": 200}
SOFTNESS = 0.12  # width of the surface, in units of the half-axes


def source(split: str) -> Source:
    """Volumes [16, 16, 16, 1] of levels 0 to 15, made when first fetched: 2,000 train and 200 test examples."""
    numbers = shuffled(split, range(NUM_EXAMPLES[split]))
    stream = list(NUM_EXAMPLES).index(split)

    def fetch(indices: np.ndarray) -> Examples:
        volumes = [volume(stream, int(number)) for number in numbers[indices]]
        return {"x": np.array(volumes).reshape(-1, *shape), "label": np.zeros(len(indices), np.int32)}

    shape = (SIZE, SIZE, SIZE, 1)
    return cached(Source("blobs", len(numbers), labeled(Field(shape, "uint8", NUM_LEVELS)), fetch))


def volume(stream: int, number: int) -> np.ndarray:
    """Example `number` of the split `stream` (0 train, 1 test): levels [16, 16, 16, 1] uint8."""
    rng = np.random.default_rng([stream, number])
    axis = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    positions = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    brightness = np.zeros((SIZE,) * 3)
    for _ in range(rng.integers(1, 4)):
        center, half_axes = rng.uniform(-0.25, 0.25, 3), rng.uniform(0.1, 0.3, 3)
        directions, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        radius = np.linalg.norm((positions - center) @ directions / half_axes, axis=-1)
        brightness = np.maximum(brightness, 1 / (1 + np.exp((radius - 1) / SOFTNESS)))
    return np.round((NUM_LEVELS - 1) * brightness).astype(np.uint8)[..., None]
