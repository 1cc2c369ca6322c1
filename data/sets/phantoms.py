"""Phantoms: slices and volumes of random heads made of ellipsoids, without any download, each a function of its number.

A subject is a head, and its slices are examples: slice k of subject s is example 4 s + k before they are shuffled. The
field `subject` says whose an example is; no subject is in both splits. In all sets subject s of a split is the same
head, without the lesion that `phantoms_lesions` adds to each slice.
"""

import functools
from collections.abc import Callable

import numpy as np

from data.fields import Field, labeled
from data.sets.ellipsoids import Ellipsoid, head, render
from data.sets.order import shuffled
from data.source import Examples, Source, cached

SIZE, NUM_LEVELS, NUM_SLICES = 64, 256, 4
NUM_SUBJECTS = {"train": 750, "test": 50}
HEIGHTS = (-0.3, -0.1, 0.1, 0.3)  # of the slices; each is shifted by up to 0.08
SOFTNESS = 0.4 * 2 / SIZE  # of all surfaces: less than half a pixel
HEAD, HEIGHT, LESION, PHASE = 1, 2, 3, 4  # purposes of the random numbers of a subject or a slice


def images(split: str) -> Source:
    """Slices [64, 64, 1] of levels 0 to 255: 3,000 of 750 subjects in the train split, 200 of 50 in the test split."""
    x = Field((SIZE, SIZE, 1), "uint8", NUM_LEVELS)
    return _source("phantoms", split, {"x": x}, NUM_SLICES, lambda *at: {"x": _levels(healthy(*at))})


def complex_images(split: str) -> Source:
    """Slices as complex images [64, 64, 2] float32, the real and the imaginary part, with a smooth phase.

    The magnitude is that of `phantoms` in [0, 1], before it is rounded to levels. The phase, in radians, is a constant
    and three waves of at most one period across the image.
    """

    def make(stream: int, subject: int, number: int) -> Examples:
        z = healthy(stream, subject, number) * np.exp(1j * phase(stream, subject, number))
        return {"x": np.stack([z.real, z.imag], axis=-1).astype(np.float32)}

    return _source("phantoms_complex", split, {"x": Field((SIZE, SIZE, 2))}, NUM_SLICES, make)


def lesions(split: str) -> Source:
    """The slices of `phantoms` with a lesion, dark (class 0) or bright (class 1), and its mask `lesion`, 0 or 1."""
    side = (SIZE, SIZE, 1)
    fields = {"x": Field(side, "uint8", NUM_LEVELS), "lesion": Field(side, "uint8", 2)}
    return _source("phantoms_lesions", split, fields, NUM_SLICES, _with_lesion, ("dark", "bright"))


def segmentation(split: str) -> Source:
    """The masks of `phantoms_lesions` [64, 64, 1] of levels 0 and 1; the slice itself is the field `image`."""
    side = (SIZE, SIZE, 1)
    fields = {"x": Field(side, "uint8", 2), "image": Field(side, "uint8", NUM_LEVELS)}

    def make(stream: int, subject: int, number: int) -> Examples:
        found = _with_lesion(stream, subject, number)
        return {"x": found["lesion"], "image": found["x"]}

    return _source("phantoms_segmentation", split, fields, NUM_SLICES, make)


def volumes(size: int, split: str) -> Source:
    """Whole heads [size, size, size, 1] of levels 0 to 255, one of each subject: 750 in the train split, 50 in test."""

    def make(stream: int, subject: int, number: int) -> Examples:
        axis = (2 * np.arange(size) + 1) / size - 1
        points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        return {"x": _levels(render(_head(stream, subject), points, 2 / size))}

    x = Field((size, size, size, 1), "uint8", NUM_LEVELS)
    return _source(f"phantoms_{size}", split, {"x": x}, 1, make)


def healthy(stream: int, subject: int, number: int) -> np.ndarray:
    """The brightness [64, 64] in [0, 1] of slice `number` of a subject of the split `stream` (0 train, 1 test)."""
    return render(_head(stream, subject), _points(stream, subject, number), SOFTNESS)


def phase(stream: int, subject: int, number: int) -> np.ndarray:
    """The phase [64, 64] of a slice in radians."""
    rng = _rng(stream, subject, number, PHASE)
    position = _points(stream, subject, number)[..., 1:]
    total = np.full(position.shape[:-1], rng.uniform(-np.pi, np.pi))
    for _ in range(3):
        direction = rng.normal(size=2)
        frequency = rng.uniform(0.2, 1) * np.pi / np.linalg.norm(direction)
        total += rng.uniform(0.3, 1) * np.cos(frequency * position @ direction + rng.uniform(0, 2 * np.pi))
    return total


def _with_lesion(stream: int, subject: int, number: int) -> Examples:
    """A slice with a lesion in the gray matter, away from its border and from the ventricles."""
    rng = _rng(stream, subject, number, LESION)
    image, points = healthy(stream, subject, number), _points(stream, subject, number)
    matter, *ventricles = _head(stream, subject)[1:4]
    room = matter.inside(points, SOFTNESS) > 0.99
    for ventricle in ventricles:
        room &= ventricle.inside(points, SOFTNESS) < 0.05
    places = points[room & _far_from(~room, 2)]
    label = int(rng.integers(0, 2))
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    shape = Ellipsoid(places[rng.integers(len(places))], rng.uniform(0.06, 0.14, 3), rotation, 0.0)
    inside = shape.inside(points, SOFTNESS)
    change = (1 if label else -1) * rng.uniform(0.12, 0.25)
    found = np.clip(image + change * inside, 0, 1)
    return {"x": _levels(found), "lesion": (inside > 0.5).astype(np.uint8)[..., None], "label": np.array(label)}


def _far_from(region: np.ndarray, distance: int) -> np.ndarray:
    """Which pixels are more than `distance` pixels from a region."""
    from scipy.ndimage import distance_transform_edt  # slow to import

    return distance_transform_edt(~region) > distance


@functools.cache  # a head has several slices
def _head(stream: int, subject: int) -> list[Ellipsoid]:
    return head(_rng(stream, subject, 0, HEAD))


def _rng(stream: int, subject: int, number: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([stream, subject, number, purpose])


def _points(stream: int, subject: int, number: int) -> np.ndarray:
    """The positions [64, 64, 3] of the pixels of a slice."""
    shift = _rng(stream, subject, number, HEIGHT).uniform(-0.08, 0.08)
    axis = (2 * np.arange(SIZE) + 1) / SIZE - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([np.full_like(x, HEIGHTS[number] + shift), y, x], axis=-1)


def _levels(brightness: np.ndarray) -> np.ndarray:
    return np.round((NUM_LEVELS - 1) * brightness).astype(np.uint8)[..., None]


def _source(
    name: str,
    split: str,
    fields: dict[str, Field],
    per_subject: int,
    make: Callable[[int, int, int], Examples],
    class_names: tuple[str, ...] = (),
) -> Source:
    """`per_subject` examples of each subject, made by `make(stream, subject, number)` when first fetched."""
    num_subjects, stream = NUM_SUBJECTS[split], list(NUM_SUBJECTS).index(split)
    numbers = shuffled(split, range(num_subjects * per_subject))
    # Subjects of all splits have numbers of their own.
    first = sum(list(NUM_SUBJECTS.values())[:stream])
    subject = Field((), "int32", num_classes=sum(NUM_SUBJECTS.values()))
    known = labeled(fields["x"], len(class_names), class_names) | fields | {"subject": subject}

    def fetch(indices: np.ndarray) -> Examples:
        rows = [divmod(int(number), per_subject) for number in numbers[indices]]
        found = [{"label": np.array(0)} | make(stream, *row) for row in rows]
        subjects = np.array([first + row[0] for row in rows], np.int32)
        made = [field for field in known if field != "subject"]
        values = {name: [example[name] for example in found] for name in made}
        shaped = {name: np.array(v, known[name].dtype).reshape(-1, *known[name].shape) for name, v in values.items()}
        return shaped | {"subject": subjects}

    return cached(Source(name, len(numbers), known, fetch))
