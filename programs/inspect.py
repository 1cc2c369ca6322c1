"""The program inspect: what a data set is, in numbers and as a picture, and the settings that suit it.

It reads no checkpoint and trains nothing; the config only has to say which data.
"""

import copy
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from builders import data
from builders.process import make_sde
from configs import default
from core.files import write_json
from data.source import Source
from reports.sheets import sample_grid, write_png

PAIRS = 2000  # examples of which distances are taken, all pairs, as Song and Ermon 2020 (technique 1) have it
BATCH = 256  # examples in memory at once, but for those
SHOWN = 64  # examples on the picture
FIGURES, PICTURE = "inspect/data.json", "inspect/examples.png"  # what is written, in the workdir


def inspect(config: ConfigDict, workdir: pathlib.Path | None = None) -> dict[str, Any]:
    """The figures of both splits and the suggested settings; into `workdir` too, with a picture, where it is given.

    Errors: ValueError, FileNotFoundError for data that cannot be read.
    """
    default.validate(config)
    train, test = data.unchecked(config, "train"), data.unchecked(config, "test")
    figures = {"dataset": config.data.dataset, **describe(train, config), "num_test": len(test)}
    if workdir is not None:
        chosen = np.linspace(0, len(train) - 1, min(SHOWN, len(train))).astype(int)
        write_png(workdir / PICTURE, sample_grid(train.fetch(chosen)["x"], train.num_levels))
        write_json(workdir / FIGURES, figures)
    return figures


def describe(source: Source, config: ConfigDict) -> dict[str, Any]:
    """Figures of a source, of the values as loaded; those under "suggested" are in the units of the network.

    "mean" and "std" are over all examples and dimensions (Welford's way, batch by batch); "max_distance" is the largest
    Euclidean distance of two of up to 2,000 examples that are spread evenly over the source.
    """
    count, mean, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    labels = np.zeros(max(source.num_classes, 1), np.int64)
    for start in range(0, len(source), BATCH):
        batch = source.fetch(np.arange(start, min(start + BATCH, len(source))))
        values = batch["x"].astype(np.float64)
        labels += np.bincount(batch["label"], minlength=len(labels))
        delta = values.mean() - mean
        squares += ((values - values.mean()) ** 2).sum() + delta**2 * count * values.size / (count + values.size)
        mean += delta * values.size / (count + values.size)
        count += values.size
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    distance, used = _max_distance(source)
    figures: dict[str, Any] = {
        "num_train": len(source),
        "shape": source.shape,
        "dtype": source.dtype,
        "num_levels": source.num_levels,
        "num_classes": source.num_classes,
        "class_names": source.class_names,
        "class_counts": labels if source.num_classes else [],
        "mean": mean,
        "std": math.sqrt(squares / count),
        "minimum": low,
        "maximum": high,
        "max_distance": distance,
        "max_distance_of": used,
    }
    return figures | {"suggested": suggest(figures, config)}


def suggest(figures: dict[str, Any], config: ConfigDict) -> dict[str, Any]:
    """Settings that suit the data: levels are seen in [0, 1], or [-1, 1] if `data.centered`, floats with deviation 1.

    `model.sigma_max`, where the config's SDE has it, is the largest distance (Song and Ermon 2020, technique 1),
    `model.sigma_data`, where the parameterisation or the weighting has it, the deviation (Karras et al. 2022), both of
    the data as the network sees them.
    """
    if figures["num_levels"]:
        num_levels = figures["num_levels"]
        if 0 < 2 * figures["maximum"] < num_levels - 1:  # half of the range is never used
            num_levels = int(figures["maximum"]) + 1
        factor = (2 if config.data.centered else 1) / (num_levels - 1)
        scaling = {"data.num_levels": num_levels}
    else:
        scale = figures["std"] or 1.0
        factor = 1 / scale
        scaling = {"data.offset": figures["mean"], "data.scale": scale}
    suggested: dict[str, Any] = dict(scaling)
    if "edm" in (config.model.parameterization, config.training.weighting):
        suggested["model.sigma_data"] = figures["std"] * factor
    if _has_largest_noise(config):
        suggested["model.sigma_max"] = figures["max_distance"] * factor
    return suggested


def table(figures: dict[str, Any]) -> str:
    """The figures for a person, and the suggestions as flags."""
    rows = {
        "data set": figures["dataset"],
        "examples": f"{figures['num_train']:,} to train on, {figures['num_test']:,} for testing",
        "shape": " x ".join(map(str, figures["shape"])) + f"  {figures['dtype']}",
        "levels": figures["num_levels"] or "none: floats",
        "classes": figures["num_classes"] or "none",
        "mean": f"{figures['mean']:.6g}",
        "deviation": f"{figures['std']:.6g}",
        "range": f"{figures['minimum']:g} to {figures['maximum']:g}",
        "largest distance": f"{figures['max_distance']:.6g}  (of {figures['max_distance_of']:,} examples)",
    }
    flags = "\n".join(
        f"  --config.{key}={value:.4g}" if isinstance(value, float) else f"  --config.{key}={value}"
        for key, value in figures["suggested"].items()
    )
    return "\n".join([*(f"{name:<18}{value}" for name, value in rows.items()), "suggested settings", flags])


def _has_largest_noise(config: ConfigDict) -> bool:
    """Whether the config's SDE is another one for another `model.sigma_max`."""
    other = copy.deepcopy(config)
    other.model.sigma_max = 2 * config.model.sigma_max
    return make_sde(other) != make_sde(config)


def _max_distance(source: Source) -> tuple[float, int]:
    """The largest distance of two examples, and of how many examples: all pairs, a block of rows at a time."""
    chosen = np.linspace(0, len(source) - 1, min(PAIRS, len(source))).astype(int)
    flat = source.fetch(chosen)["x"].reshape(len(chosen), -1).astype(np.float64)
    flat -= flat.mean(axis=0)  # so that nothing cancels
    norms = (flat**2).sum(axis=1)
    largest = 0.0
    for start in range(0, len(flat), BATCH):
        block = slice(start, start + BATCH)
        squared = norms[block, None] + norms[None] - 2 * flat[block] @ flat.T
        largest = max(largest, float(squared.max()))
    return math.sqrt(largest), len(chosen)


def command(given: Any) -> Callable[[], None]:
    """--mode= Errors: ValueError, OSError for the data."""
    workdir = pathlib.Path(given.workdir) if given.workdir else None
    figures = inspect(given.config, workdir)

    def show() -> None:
        print(table(figures))
        if workdir:
            for name in (FIGURES, PICTURE):
                print(f"-> {workdir / name}")

    return show
