"""A pendulum, a lamp and the shadow: images of a written causal model, each a function of its number.

    pendulum_angle, light_angle -> shadow_length, shadow_position

The unit of lengths is the width of the image, x to the right and y down; angles are in degrees from the vertical. The
rod hangs from (0.5, 0.42) and is 0.3 long. Parallel light from the lamp projects rod and bob (of radius 0.05, whatever
the size of the bob in the image) to the ground, y = 0.93: a point (x, y) to x - (0.93 - y) tan(light_angle). Length and
middle of this shadow are those drawn, each with noise of standard deviation 0.015. The brightness of the background and
the radius of the bob depend on nothing, and nothing depends on them.
"""

import numpy as np

from data.fields import Field, labeled
from data.source import Examples, Source, cached
from data.structure import Structure, Values

NUM_LEVELS = 256
NUM_EXAMPLES = {"train": 20_000, "test": 1000}
PIVOT, ROD, GROUND = (0.5, 0.42), 0.3, 0.93
LAMP_DISTANCE, LAMP_RADIUS, ROD_WIDTH, SHADOW_HEIGHT = 0.33, 0.07, 0.036, 0.08
SHADE, BOB_OF_SHADOW, NOISE_STD = 0.35, 0.05, 0.015
SKY, FLOOR = 0.3, 0.87  # the lamp is above, the shadow below, the pendulum between
RANGES = {"pendulum_angle": (-40.0, 40.0), "light_angle": (-35.0, 35.0)}
NUISANCES = {"background": (0.45, 0.75), "bob_radius": (0.06, 0.11)}
EFFECTS = ("shadow_length", "shadow_position")
FAINT = 0.12  # smaller differences from the background are not measured


def images(size: int, split: str, labeled_share: float = 1.0) -> Source:
    """Images [size, size, 1] of levels 0 to 255: 20,000 in the train split, 1,000 in the test split.

    The fields are the four variables, and `background` and `bob_radius`. With a `labeled_share` below 1, the variables
    of the other examples of the train split are missing: `NAME_mask` is 0, and so is the value.
    """
    stream = list(NUM_EXAMPLES).index(split)
    names = (*RANGES, *EFFECTS)
    fields = labeled(Field((size, size, 1), "uint8", NUM_LEVELS)) | {name: Field(()) for name in (*names, *NUISANCES)}
    if labeled_share < 1:
        fields |= {f"{name}_mask": Field((), "int32", num_classes=2) for name in names}

    def fetch(indices: np.ndarray) -> Examples:
        found = _values(stream, indices)
        x = render(found, size)
        if labeled_share < 1:
            known = (_uniform(stream, indices, 1)[:, 0] < labeled_share) | (split == "test")
            found |= {name: np.where(known, found[name], 0) for name in names}
            found |= {f"{name}_mask": known for name in names}
        found |= {"x": x, "label": np.zeros(len(indices))}
        return {name: np.asarray(found[name]).astype(field.dtype) for name, field in fields.items()}

    return cached(Source("pendulum", NUM_EXAMPLES[split], fields, fetch, STRUCTURE))


def shadow(pendulum_angle: np.ndarray, light_angle: np.ndarray) -> dict[str, np.ndarray]:
    """Length and position of the shadow without noise, for angles [N] in degrees."""
    theta, slope = np.deg2rad(pendulum_angle), np.tan(np.deg2rad(light_angle))
    of_pivot = PIVOT[0] - (GROUND - PIVOT[1]) * slope
    of_bob = PIVOT[0] + ROD * np.sin(theta) - (GROUND - PIVOT[1] - ROD * np.cos(theta)) * slope
    low, high = np.minimum(of_pivot, of_bob - BOB_OF_SHADOW), np.maximum(of_pivot, of_bob + BOB_OF_SHADOW)
    return {"shadow_length": high - low, "shadow_position": (high + low) / 2}


def render(values: Values, size: int) -> np.ndarray:
    """Levels [N, size, size, 1] for the values [N] of all fields, antialiased."""
    given = {name: np.asarray(array, np.float64)[:, None, None] for name, array in values.items()}
    center = (np.arange(size) + 0.5) / size
    y, x = center[None, :, None], center[None, None, :]
    theta, phi = np.deg2rad(given["pendulum_angle"]), np.deg2rad(given["light_angle"])

    def covered(distance: np.ndarray) -> np.ndarray:
        return np.clip(0.5 - size * distance, 0, 1)  # of a pixel, for the distance of its center from an outline

    u, v = x - PIVOT[0], y - PIVOT[1]
    along = np.clip(u * np.sin(theta) + v * np.cos(theta), 0, ROD)
    rod = covered(np.hypot(u - along * np.sin(theta), v - along * np.cos(theta)) - ROD_WIDTH / 2)
    bob = covered(np.hypot(u - ROD * np.sin(theta), v - ROD * np.cos(theta)) - given["bob_radius"])
    lamp = covered(np.hypot(u - LAMP_DISTANCE * np.sin(phi), v + LAMP_DISTANCE * np.cos(phi)) - LAMP_RADIUS)
    shade = covered(np.abs(x - given["shadow_position"]) - given["shadow_length"] / 2)
    shade = shade * covered(np.abs(y - GROUND) - SHADOW_HEIGHT / 2)
    brightness = given["background"] * (1 - (1 - SHADE) * shade) * (1 - np.maximum(rod, bob))
    brightness = brightness + (1 - brightness) * lamp
    return np.round((NUM_LEVELS - 1) * brightness).astype(np.uint8)[..., None]


def measure(x: np.ndarray) -> dict[str, np.ndarray]:
    """All fields [N] measured from levels [N, H, W, 1]: moments of what differs from the median, above and below."""
    brightness = np.asarray(x, np.float64)[..., 0] / (NUM_LEVELS - 1)
    height, width = brightness.shape[1:]
    background = np.clip(np.median(brightness, axis=(1, 2)), 0.05, 0.95)[:, None, None]
    rows = np.broadcast_to((np.arange(height)[:, None] + 0.5) / height, (height, width))
    columns = np.broadcast_to((np.arange(width) + 0.5) / width, (height, width))
    bright, dark = (brightness - background) / (1 - background), (background - brightness) / background

    def moments(weight: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        w = np.where((weight > FAINT) & region, weight, 0.0) + 1e-9 * region  # nowhere zero
        total = w.sum(axis=(1, 2))
        mean_x, mean_y = ((w * each).sum(axis=(1, 2)) / total for each in (columns, rows))
        variance = (w * (columns - mean_x[:, None, None]) ** 2).sum(axis=(1, 2)) / total
        return total / (height * width), mean_x, mean_y, variance

    _, lamp_x, lamp_y, _ = moments(bright, rows < SKY)
    area, bob_x, bob_y, _ = moments(dark, (rows > SKY) & (rows < FLOOR))
    _, shadow_x, _, variance = moments(dark, rows > FLOOR)
    # pi r^2 + width (length - r) is the area of the bob and of the rod outside of it
    excess = np.maximum(area - ROD_WIDTH * ROD, 0)
    radius = (ROD_WIDTH + np.sqrt(ROD_WIDTH**2 + 4 * np.pi * excess)) / (2 * np.pi)
    return {
        "pendulum_angle": np.rad2deg(np.arctan2(bob_x - PIVOT[0], bob_y - PIVOT[1])),
        "light_angle": np.rad2deg(np.arctan2(lamp_x - PIVOT[0], PIVOT[1] - lamp_y)),
        "shadow_length": np.sqrt(12 * variance),
        "shadow_position": shadow_x,
        "background": background[:, 0, 0],
        "bob_radius": radius,
    }


def counterfactual(values: Values, do: Values) -> dict[str, np.ndarray]:
    """The same examples with other values of some variables: their noise, background and bob stay."""
    known = {name: np.asarray(values[name], np.float64) for name in (*RANGES, *EFFECTS, *NUISANCES)}
    before = shadow(known["pendulum_angle"], known["light_angle"])
    noise = {name: known[name] - before[name] for name in EFFECTS}
    known |= {name: np.asarray(do[name], np.float64) for name in RANGES if name in do}
    after = shadow(known["pendulum_angle"], known["light_angle"])
    known |= {name: np.asarray(do[name] if name in do else after[name] + noise[name], np.float64) for name in EFFECTS}
    return known | {"x": render(known, np.asarray(values["x"]).shape[1])}


def _values(stream: int, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of the examples `indices` [N] of a split."""
    ranges = np.array([*RANGES.values(), *NUISANCES.values()])
    drawn = _uniform(stream, indices, len(ranges) + 2 + 1)[:, 1:]
    found = dict(zip((*RANGES, *NUISANCES), (ranges[:, 0] + drawn[:, :-2] * np.ptp(ranges, axis=1)).T, strict=True))
    exact = shadow(found["pendulum_angle"], found["light_angle"])
    noise = NOISE_STD * _normal(drawn[:, -2:])
    return found | {name: exact[name] + noise[:, k] for k, name in enumerate(EFFECTS)}


def _uniform(stream: int, indices: np.ndarray, num: int) -> np.ndarray:
    """`num` numbers in (0, 1) for each example, [N, num]."""
    return np.array([np.random.default_rng([stream, int(index)]).uniform(size=num) for index in indices])


def _normal(uniform: np.ndarray) -> np.ndarray:
    """Standard normal numbers within 2.5 standard deviations."""
    from scipy.special import ndtri  # slow to import

    low, high = 0.006209665325776132, 0.9937903346742238  # the normal distribution function at -2.5 and 2.5
    return ndtri(low + (high - low) * uniform)


STRUCTURE = Structure(
    edges=tuple((cause, effect) for effect in EFFECTS for cause in RANGES),
    nuisances=tuple(NUISANCES),
    measure=measure,
    counterfactual=counterfactual,
)
