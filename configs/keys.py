"""Settings by their dotted keys, whatever they are: listing them, choosing by name, comparing two configs."""

import json
from collections.abc import Iterator
from typing import Any

import ml_collections

# A resumed run that changes one of these would be another model or see other data, so it is refused.
FIXED = (
    "seed", "model", "data.dataset", "data.category", "data.image_size", "data.num_channels", "data.random_flip",
    "data.shape", "data.num_levels", "data.resize", "data.test_every", "data.on_corrupt", "data.offset", "data.scale",
    "data.augment",
    "data.centered", "data.uniform_dequantization", "training.sde", "training.continuous", "training.batch_size",
    "optim.optimizer",
)  # fmt: skip
FREE = ("model.dtype", "model.remat")  # although of the model: how the same one is computed


def flatten(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf, in order; tuples are values."""
    for key in config:
        value = config[key]
        if isinstance(value, ml_collections.ConfigDict | dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_json(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The config as JSON knows it (lists instead of tuples): what checkpoints and reports keep."""
    return json.loads(json.dumps(config.to_dict()))


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """`{key: (old value, new value)}` of all keys that differ between two configs as JSON."""
    a, b = dict(flatten(old)), dict(flatten(new))
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def is_fixed(key: str) -> bool:
    """Whether a resumed run may not change this key."""
    return key not in FREE and any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED)


def changes_evaluation(key: str) -> bool:
    """Whether rounds of an evaluation begun with another value of this key cannot be mixed with new ones."""
    harmless = (
        "data.data_dir",
        "data.cache_dir",
        "data.num_threads",
        "data.num_workers",
        "model.remat",
        "eval.begin_ckpt",
        "eval.end_ckpt",
        "eval.wait_",
        "eval.enable_",
        "eval.sample_format",
    )
    matters = ("seed", "model.", "data.", "sampling.", "eval.", "training.sde", "training.continuous")
    return key.startswith(matters) and not key.startswith(harmless)
