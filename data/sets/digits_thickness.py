"""scikit-learn's digits with strokes of a given thickness and intensity, 16x16, where thick strokes are bright.

    thickness -> intensity

thickness, in pixels, is twice the area of the strokes over the length of their outline, which dilation changes;
intensity, in [0, 1], is the mean of the ten brightest pixels, which scaling changes:

    thickness ~ U(1.6, 3.0),   intensity = 0.35 + 0.5 / (1 + exp(-4 (thickness - 2.3))) + 0.04 n,   n ~ N(0, 1)

`measure` finds both in an image, and its `slant`, which neither changes much. `number` is that of the digit
among those of scikit-learn, and the label is the digit. The test split has other digits than the train split.
"""

import functools

import numpy as np

from data.fields import Field, labeled
from data.sets.digits import NUM_LEVELS as INK
from data.sets.digits import TEST_EVERY
from data.sets.order import shuffled
from data.source import Examples, Source, cached, in_split
from data.structure import Structure, Values

SIZE, NUM_LEVELS, NUM_DIGITS = 16, 256, 1797
COPIES = {"train": 6, "test": 2}  # of each digit
THICKNESS, BRIGHTEST, NOISE_STD = (1.6, 3.0), 10, 0.04
FINE, CORE, REACH = (
    4,
    0.6,
    (-2.5, 5.0),
)  # pixels per side of a digit's pixel, ink of the core, and dilation in fine ones


def source(split: str) -> Source:
    """Images [16, 16, 1] of levels 0 to 255: 8,982 in the train split, 600 in the test split."""
    stream = list(COPIES).index(split)
    rows = np.repeat(in_split(NUM_DIGITS, split, TEST_EVERY), COPIES[split])
    rows = np.stack([rows, np.arange(len(rows)) % COPIES[split]], axis=1)
    rows = rows[shuffled(split, [f"{number}.{copy}" for number, copy in rows])]
    fields = labeled(Field((SIZE, SIZE, 1), "uint8", NUM_LEVELS), 10)
    fields |= {name: Field(()) for name in ("thickness", "intensity", "slant")}
    fields["number"] = Field((), "int32", num_classes=NUM_DIGITS)

    def fetch(indices: np.ndarray) -> Examples:
        numbers = rows[indices, 0]
        drawn = [np.random.default_rng([stream, *map(int, row)]) for row in rows[indices]]
        wanted = np.array([rng.uniform(*THICKNESS) for rng in drawn])
        thickness, masks = strokes(numbers, wanted)
        noise = NOISE_STD * np.clip([rng.normal() for rng in drawn], -2.5, 2.5)
        found = _examples(numbers, thickness, masks, brightness(thickness) + noise)
        found["label"] = _digits()[1][numbers]
        return {name: np.asarray(found[name]).astype(field.dtype) for name, field in fields.items()}

    return cached(Source("digits_thickness", len(rows), fields, fetch, STRUCTURE))


def brightness(thickness: np.ndarray) -> np.ndarray:
    """The intensity of strokes without noise."""
    return 0.35 + 0.5 / (1 + np.exp(-4 * (thickness - 2.3)))


def strokes(numbers: np.ndarray, thickness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The thickness [N] closest to a given one that dilation reaches, and the strokes [N, 16, 16] of digits with it."""
    distance = _distances()[numbers]
    low, high = (np.full(len(numbers), end) for end in REACH)
    for _ in range(24):  # bisection
        middle = (low + high) / 2
        is_thin = _thickness(_dilated(distance, middle)) < thickness
        low, high = np.where(is_thin, middle, low), np.where(is_thin, high, middle)
    masks = _dilated(distance, (low + high) / 2)
    return _thickness(masks), masks


def render(masks: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """Levels [N, 16, 16, 1] of strokes with an intensity [N]."""
    scaled = masks * (np.clip(intensity, 0.05, 0.95) / _brightest(masks))[:, None, None]
    return np.round((NUM_LEVELS - 1) * np.clip(scaled, 0, 1)).astype(np.uint8)[..., None]


def measure(x: np.ndarray) -> dict[str, np.ndarray]:
    """Thickness, intensity and slant [N] of levels [N, 16, 16, 1]; slant is that of x over y by their covariance."""
    unit = np.asarray(x, np.float64)[..., 0] / (NUM_LEVELS - 1)
    intensity = _brightest(unit)
    mask = np.clip(unit / intensity[:, None, None], 0, 1)
    total, side = mask.sum(axis=(1, 2)) + 1e-9, np.arange(mask.shape[1], dtype=np.float64)
    u, v = (side - ((mask.sum(axis=axis) @ side) / total)[:, None] for axis in (1, 2))  # x and y from their means
    covariance, variance = np.einsum("nyx,nx,ny->n", mask, u, v), np.einsum("nyx,ny->n", mask, v**2)
    return {"thickness": _thickness(mask), "intensity": intensity, "slant": covariance / (variance + 1e-9)}


def counterfactual(values: Values, do: Values) -> dict[str, np.ndarray]:
    """The same digits with another thickness, or another intensity: the noise of the intensity stays."""
    numbers = np.asarray(values["number"])
    before = np.asarray(values["thickness"], np.float64)
    thickness, masks = strokes(numbers, np.asarray(do.get("thickness", before), np.float64))
    noise = np.asarray(values["intensity"], np.float64) - brightness(before)
    return _examples(
        numbers, thickness, masks, np.asarray(do.get("intensity", brightness(thickness) + noise), np.float64)
    )


def _examples(numbers: np.ndarray, thickness: np.ndarray, masks: np.ndarray, intensity: np.ndarray) -> Examples:
    """The fields of digits with these strokes: what they are made with, and their slant as it is measured."""
    x = render(masks, intensity)
    return {"x": x, "thickness": thickness, "intensity": intensity, "slant": measure(x)["slant"], "number": numbers}


def _thickness(masks: np.ndarray) -> np.ndarray:
    """2 sum m / sum |grad m|, of strokes [N, H, W] in [0, 1] on a dark background."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    down, right = padded[:, 1:, :-1] - padded[:, :-1, :-1], padded[:, :-1, 1:] - padded[:, :-1, :-1]
    outline = np.sqrt(down**2 + right**2).sum(axis=(1, 2))
    return 2 * masks.sum(axis=(1, 2)) / (outline + 1e-9)


def _brightest(images: np.ndarray) -> np.ndarray:
    """The mean of the brightest pixels of images [N, H, W], at least a level."""
    flat = np.sort(images.reshape(len(images), -1), axis=1)
    return np.maximum(flat[:, -BRIGHTEST:].mean(axis=1), 1 / (NUM_LEVELS - 1))


def _dilated(distance: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """What is within a radius [N] of the cores, averaged over the fine pixels of each pixel: [N, 16, 16]."""
    fine = np.clip(0.5 + radius[:, None, None] - distance, 0, 1)
    step = fine.shape[1] // SIZE
    return fine.reshape(len(fine), SIZE, step, SIZE, step).mean(axis=(2, 4))


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Ink [1797, 8, 8] in [0, 1], and the digits [1797]."""
    from sklearn.datasets import load_digits  # slow to import

    found = load_digits()
    return found.images / (INK - 1), found.target


@functools.cache
def _distances() -> np.ndarray:
    """The signed distance [1797, 32, 32] of fine pixels from the core of each digit, in fine pixels."""
    from scipy.ndimage import distance_transform_edt, zoom  # slow to import

    found = []
    for ink in _digits()[0]:
        core = zoom(ink, FINE, order=1, grid_mode=True, mode="grid-constant") > CORE
        found.append(distance_transform_edt(~core) - distance_transform_edt(core))
    return np.array(found, np.float32)


STRUCTURE = Structure(
    edges=(("thickness", "intensity"),), nuisances=("slant",), measure=measure, counterfactual=counterfactual
)
