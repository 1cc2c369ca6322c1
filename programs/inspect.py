"""The program inspect: statistics of a data set, a grid of examples, and the settings that suit it.

It reads no checkpoint and trains nothing; of the config, only the data matter.
"""

import copy
import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from builders import data
from builders.process import make_sde
from configs import default
from core.files import write_json
from core.progress import each
from data.shapes import KINDS
from data.source import Source
from reports.sheets import sample_grid, write_png

PAIRS = 2000  # examples whose pairwise distances are computed (Song and Ermon 2020, technique 1)
BATCH = 256  # other examples in memory at a time
SHOWN, SHOWN_VALUES = 64, 4  # examples in the grid; values of the example of a field
CHANNELS, MIN_SIDE = (1, 3, 4), 8  # of images, for hints
STATISTICS, GRID = "inspect/data.json", "inspect/examples.png"  # files in the workdir


def inspect(config: ConfigDict, workdir: pathlib.Path | None = None) -> dict[str, Any]:
    """The statistics of the data and suggested settings; with a `workdir`, also written there with a grid of examples.

    Errors: ValueError, FileNotFoundError for data that cannot be read.
    """
    default.validate(config)
    train, test = data.unchecked(config, "train"), data.unchecked(config, "test")
    starts = range(0, len(test), BATCH)
    for start in each(
        starts, "reading the test examples", len(starts)
    ):  # what is wrong with an example is said now, not in an evaluation
        test.fetch(np.arange(start, min(start + BATCH, len(test))))
    statistics = {
        "dataset": config.data.dataset,
        **describe(train, config),
        "num_test": len(test),
        "scale": scale(train.num_levels, config),
    }
    if workdir is not None:
        chosen = np.linspace(0, len(train) - 1, min(SHOWN, len(train))).astype(int)
        write_png(workdir / GRID, sample_grid(train.fetch(chosen)["x"], train.num_levels))
        write_json(workdir / STATISTICS, statistics)
    return statistics


def scale(num_levels: int, config: ConfigDict) -> str:
    """Which values the network sees as which, by the config."""
    data_config = config.data
    if num_levels:
        return f"0 to {num_levels - 1} are {-1 if data_config.centered else 0} to 1 for the network"
    return f"the network sees (x - {data_config.offset:g}) / {data_config.scale:g}"


def describe(source: Source, config: ConfigDict) -> dict[str, Any]:
    """Statistics of a source, of the values as loaded; those under "suggested" are in the units of the network.

    "mean" and "std" are over all examples and dimensions (Welford's algorithm, batch by batch); "max_distance" is the
    largest Euclidean distance between any two of up to 2,000 examples, spread evenly over the source. "fields" has an
    entry for each of them: name, shape, dtype, levels or classes, range, and its first values in the first
    example.
    """
    count, mean, squares, whole = 0, 0.0, 0.0, True
    ranges = dict.fromkeys(source.fields, (math.inf, -math.inf))
    labels = np.zeros(max(source.num_classes, 1), np.int64)
    starts = range(0, len(source), BATCH)
    for start in each(starts, "describing the data", len(starts)):
        batch = source.fetch(np.arange(start, min(start + BATCH, len(source))))
        values = batch["x"].astype(np.float64)
        labels += np.bincount(batch["label"], minlength=len(labels))
        whole = whole and bool((values == np.rint(values)).all())
        delta = values.mean() - mean
        squares += ((values - values.mean()) ** 2).sum() + delta**2 * count * values.size / (count + values.size)
        mean += delta * values.size / (count + values.size)
        count += values.size
        for name, (low, high) in ranges.items():
            ranges[name] = min(low, float(batch[name].min())), max(high, float(batch[name].max()))
    distance, used = _max_distance(source)
    statistics: dict[str, Any] = {
        "num_train": len(source),
        "shape": source.shape,
        "dtype": source.dtype,
        "num_levels": source.num_levels,
        "num_classes": source.num_classes,
        "class_names": source.class_names,
        "class_counts": labels if source.num_classes else [],
        "mean": mean,
        "std": math.sqrt(squares / count),
        "minimum": ranges["x"][0],
        "maximum": ranges["x"][1],
        "whole": whole,
        "max_distance": distance,
        "max_distance_of": used,
        "fields": _fields(source, ranges),
    }
    return statistics | {"suggested": suggest(statistics, config)}


def _fields(source: Source, ranges: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """What is known of each field, with its first values in the first example."""
    first = source.fetch(np.arange(1))
    return [
        {
            "name": name,
            **dataclasses.asdict(field),
            "minimum": low,
            "maximum": high,
            "example": first[name].ravel()[:SHOWN_VALUES],
        }
        for (name, field), (low, high) in zip(source.fields.items(), ranges.values(), strict=True)
    ]


def suggest(statistics: dict[str, Any], config: ConfigDict) -> dict[str, Any]:
    """Settings that suit the data: levels in [0, 1], or [-1, 1] if `data.centered`; floats with unit deviation.

    `model.sigma_max`, if the config's SDE has it, is the largest distance (Song and Ermon 2020, technique 1);
    `model.sigma_data`, if the parameterization or the weighting has it, is the standard deviation (Karras et al. 2022);
    both of the data as the network sees them.
    """
    if statistics["num_levels"]:
        num_levels = statistics["num_levels"]
        if 0 < 2 * statistics["maximum"] < num_levels - 1:  # half of the range is unused
            num_levels = int(statistics["maximum"]) + 1
        factor = (2 if config.data.centered else 1) / (num_levels - 1)
        scaling = {"data.num_levels": num_levels}
    else:
        scale = statistics["std"] or 1.0
        factor = 1 / scale
        scaling = {"data.offset": statistics["mean"], "data.scale": scale}
    suggested: dict[str, Any] = dict(scaling)
    if "edm" in (config.model.parameterization, config.training.weighting):
        suggested["model.sigma_data"] = statistics["std"] * factor
    if _has_largest_noise(config):
        suggested["model.sigma_max"] = statistics["max_distance"] * factor
    return suggested


def table(statistics: dict[str, Any]) -> str:
    """The statistics as text, and the suggested settings as flags."""
    shape = statistics["shape"]
    rows = {
        "data set": statistics["dataset"],
        "examples": f"{statistics['num_train']:,} to train on, {statistics['num_test']:,} for testing",
        "shape": " x ".join(map(str, shape)) + f"  {statistics['dtype']}, {KINDS.get(len(shape), 'of another kind')}",
        "levels": statistics["num_levels"] or "none: floats",
        "scale": statistics["scale"],
        "classes": statistics["num_classes"] or "none",
        "mean": f"{statistics['mean']:.6g}",
        "standard deviation": f"{statistics['std']:.6g}",
        "range": f"{statistics['minimum']:g} to {statistics['maximum']:g}",
        "largest distance": f"{statistics['max_distance']:.6g}  (among {statistics['max_distance_of']:,} examples)",
    }
    flags = "\n".join(
        f"  --config.{key}={value:.4g}" if isinstance(value, float) else f"  --config.{key}={value}"
        for key, value in statistics["suggested"].items()
    )
    shown = [f"{name:<20}{value}" for name, value in rows.items()]
    notes = [f"note: {hint}" for hint in hints(statistics)]
    return "\n".join([*shown, *notes, "fields", *_table_of_fields(statistics["fields"]), "suggested settings", flags])


def hints(statistics: dict[str, Any]) -> list[str]:
    """What looks like another order of axes or another scale than was meant, with what to do about it."""
    shape, low, high = statistics["shape"], statistics["minimum"], statistics["maximum"]
    found = [hint for hint in (_other_order(shape), _missing_axis(shape)) if hint]
    if not statistics["num_levels"] and low >= 0 and (2 < high <= 255 or (high > 1 and statistics["whole"])):
        found.append(f"floats from {low:g} to {high:g} may be levels; give them as uint8 or uint16 if they are.")
    return found


def _other_order(shape: tuple[int, ...]) -> str | None:
    """What to do about axes that look as if channels came first, or examples last."""
    sides = {2: "L", 3: "H, W", 4: "D, H, W"}.get(len(shape))
    if sides and shape[0] <= max(CHANNELS) < MIN_SIDE <= min(shape[1:]):
        kind = KINDS[len(shape)].partition(" ")[0]
        return f"{shape} looks like (C, {sides}), but {kind} are ({sides}, C); transpose the array to [N, {sides}, C]."
    if len(shape) == 3 and shape[1] in CHANNELS and min(shape[0], shape[2]) >= MIN_SIDE:
        return f"{shape} looks like (W, C, N) of an array [H, W, C, N]; transpose it to [N, H, W, C]."
    return None


def _missing_axis(shape: tuple[int, ...]) -> str | None:
    """What to do about a shape that looks as if the axis of channels were missing, or all axes were one."""
    sides = ",".join(map(str, shape))
    if len(shape) == 1:
        for channels in (1, 3):
            side = math.isqrt(shape[0] // channels)
            if side >= MIN_SIDE and side**2 * channels == shape[0]:
                return f'{shape} is read as vectors; for images, add "--config.data.shape=({side},{side},{channels})".'
    if len(shape) == 2 and min(shape) >= MIN_SIDE:
        return f'{shape} is read as a series; for gray images, add "--config.data.shape=({sides},1)".'
    if len(shape) == 3 and min(shape) >= MIN_SIDE:
        return f'{shape} is read as images of {shape[2]} channels; for volumes, add "--config.data.shape=({sides},1)".'
    return None


def _table_of_fields(fields: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each field: name, shape, dtype, range, what its values are, and an example."""
    lines = []
    for field in fields:
        classes, values = field["class_names"], field["example"]
        kind = f"{field['num_levels']} levels" if field["num_levels"] else "values"
        if field["num_classes"]:
            kind = f"{field['num_classes']} classes" + (f": {', '.join(classes[:4])}" if classes else "")
        elif field["name"] == "label":
            kind = "no classes"
        example = classes[values[0]] if classes else " ".join(f"{value:g}" for value in values)
        lines.append(
            (
                field["name"],
                " x ".join(map(str, field["shape"])) or "one",
                field["dtype"],
                f"{field['minimum']:g} to {field['maximum']:g}",
                kind + (", ..." if len(classes) > 4 else ""),
                f"such as {example}" + (" ..." if math.prod(field["shape"]) > len(values) else ""),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _has_largest_noise(config: ConfigDict) -> bool:
    """Whether the config's SDE depends on `model.sigma_max`."""
    other = copy.deepcopy(config)
    other.model.sigma_max = 2 * config.model.sigma_max
    return make_sde(other) != make_sde(config)


def _max_distance(source: Source) -> tuple[float, int]:
    """(largest distance between two examples, number of examples compared): all pairs, a block of rows at a time."""
    chosen = np.linspace(0, len(source) - 1, min(PAIRS, len(source))).astype(int)
    flat = source.fetch(chosen)["x"].reshape(len(chosen), -1).astype(np.float64)
    flat -= flat.mean(axis=0)  # to avoid cancellation
    norms = (flat**2).sum(axis=1)
    largest = 0.0
    for start in range(0, len(flat), BATCH):
        block = slice(start, start + BATCH)
        squared = norms[block, None] + norms[None] - 2 * flat[block] @ flat.T
        largest = max(largest, float(squared.max()))
    return math.sqrt(largest), len(chosen)


def command(given: Any) -> Callable[[], None]:
    """What --mode=inspect prints; the data are read before. Errors: ValueError, OSError for the data."""
    workdir = pathlib.Path(given.workdir) if given.workdir and not given.dry_run else None
    statistics = inspect(given.config, workdir)

    def show() -> None:
        print(table(statistics))
        if workdir:
            for name in (STATISTICS, GRID):
                print(f"-> {workdir / name}")

    return show
