"""The data of a config: the source of examples, and how their values are scaled for the network and back."""

import logging
import math
from collections.abc import Callable

from ml_collections import ConfigDict

from builders import condition
from builders.shape import data_shape
from configs.conditions import parse
from core.arrays import Array
from data.readers.own import FORMS, is_own
from data.readers.windows import CONTEXT
from data.shapes import check_images
from data.spec import DataSpec
from data.stock import EMBEDDED, Reading, Source, eval_split, load
from likelihood import dequantize
from training import augment
from training.objectives.base import Prepare
from training.objectives.score_matching import Augment


def resolve(config: ConfigDict, spec: DataSpec | None = None) -> None:
    """Completes the config where the data are given by a path, which determine their own shape and levels.

    spec: what is known of them, as a checkpoint has it; otherwise they are read.

    Sets `data.shape`, `image_size`, `num_channels` and `num_levels`, and unsets `random_flip` for data that are not
    images; in `model.conditions` it adds the shapes of the fields, for any data. It is idempotent.
    Errors: ValueError, FileNotFoundError for data that cannot be read.
    """
    _check_given(config)
    data = config.data
    if not is_own(data.dataset) and condition.is_resolved(config):
        return
    found = spec or _load(config, "train")
    config.model.conditions = condition.resolved(config, found)
    if not is_own(data.dataset):
        return
    data.shape = found.shape
    data.num_channels = found.shape[-1]
    if len(found.shape) == 3 and found.shape[0] == found.shape[1]:
        data.image_size = found.shape[0]
    if found.num_levels:
        data.num_levels = found.num_levels
    else:
        data.uniform_dequantization, data.centered = False, True
        logging.info(
            "%s are floats: they are not dequantized, and the network sees (x - %g) / %g",
            data.dataset,
            *affine(config, 0),
        )
    if len(found.shape) != 3 and data.random_flip:
        data.random_flip = False
        logging.info("%s are not images [H, W, C]: config.data.random_flip is set to False", data.dataset)


def source(config: ConfigDict, split: str) -> Source:
    """The data split `train`, or `test`, which is what the published experiments evaluate on.

    Errors: ValueError, FileNotFoundError for data that cannot be found, or whose shape, levels or classes are not those
    of the config.
    """
    data = config.data
    examples = _load(config, split)
    if examples.shape != data_shape(config):
        raise ValueError(
            f"config.data describes examples of {data_shape(config)}, but {data.dataset} has {examples.shape}; "
            f"set config.data.shape = {examples.shape}."
        )
    _check_values(config, examples.num_levels)
    if config.model.num_labels not in (0, examples.num_classes):
        raise ValueError(
            f"config.model.num_labels = {config.model.num_labels}, but {data.dataset} has "
            f"{examples.num_classes} classes; set it to {examples.num_classes}, or to 0 for a network without classes."
        )
    condition.resolved(config, examples)
    return examples


def unchecked(config: ConfigDict, split: str) -> Source:
    """The data split `train` or `test`, whether or not the rest of the config suits it."""
    return _load(config, split, any_size=True)


def augmentation(config: ConfigDict) -> Augment | None:
    """EDM's augmentation with probability `data.augment`; None if that is 0.

    Errors: ValueError for data that are not images, and for a network that is not conditioned on the augmentation:
    its samples would look augmented, too.
    """
    probability = config.data.augment
    if not probability:
        return None
    check_images(data_shape(config), "config.data.augment", "set it to 0")
    dim = config.model.get("augment_dim", 0)
    if dim != augment.NUM_LABELS:
        raise ValueError(
            f"config.data.augment = {probability} needs a network that is conditioned on the augmentation, but "
            f"config.model.augment_dim = {dim}; set it to {augment.NUM_LABELS}, or data.augment to 0."
        )
    return lambda keys, x: augment.augment(keys, x, probability)


def affine(config: ConfigDict, num_levels: int) -> tuple[float, float]:
    """(offset, scale) of floats x, which the network sees as (x - offset) / scale.

    Errors: ValueError for data with levels, which `data.centered` scales, and unless both are finite and the scale is
    positive.
    """
    offset, scale = config.data.offset, config.data.scale
    if num_levels and (offset, scale) != (0.0, 1.0):
        raise ValueError(
            f"config.data.offset = {offset} and config.data.scale = {scale} are for floats, but the data have "
            f"{num_levels} levels, which config.data.centered scales; leave them at 0.0 and 1.0."
        )
    if not scale > 0 or not math.isfinite(scale + offset):
        raise ValueError(
            f"config.data.offset = {offset} and config.data.scale = {scale}, but both must be finite and the scale "
            "positive."
        )
    return offset, scale


def _check_given(config: ConfigDict) -> None:
    """Errors: ValueError if neither the config nor the command line names a data set."""
    if not config.data.dataset:
        others = " or ".join(f"{form}:YOUR_FILE" for form in FORMS if form not in ("folder", "cifar10", "tfds"))
        raise ValueError(
            "config.data.dataset is empty, because this config is for your own data: give "
            f"--config.data.dataset=folder:YOUR_FOLDER, the folder of your images, or {others}."
        )


def _load(config: ConfigDict, split: str, any_size: bool = False) -> Source:
    """A data split; with `any_size`, embedded data sets may have another size than the config says.

    Errors: ValueError, FileNotFoundError.
    """
    _check_given(config)
    data = config.data
    return load(
        data.dataset,
        split if split == "train" else eval_split(data.dataset),
        data_dir=data.data_dir,
        image_size=None if data.shape or (any_size and data.dataset.lower() in EMBEDDED) else data.image_size,
        category=data.category,
        num_channels=data.num_channels,
        shape=tuple(data.shape),
        reading=Reading(
            shape=tuple(data.shape),
            image_size=data.image_size,
            resize=data.resize,
            num_levels=data.num_levels,
            test_every=data.test_every,
            on_corrupt=data.on_corrupt,
            cache_dir=data.cache_dir,
            data_dir=data.data_dir,
            background=data.background,
            max_pixels=data.max_pixels,
            horizon=data.horizon,
            lags=data.lags,
            test_share=data.test_share,
            context_units=(data.offset, data.scale) if _has_context(config) else None,
            text_length=data.text_length,
            classes_needed=bool(config.model.num_labels),
        ),
    )


def _has_context(config: ConfigDict) -> bool:
    """Whether the network is conditioned on the observed part of a window."""
    return any(parse(text).name == CONTEXT for text in config.model.conditions)


def prepare(config: ConfigDict, num_levels: int) -> Prepare:
    """`(keys, batch) -> x`: scales a training batch as loaded, integer levels or floats (`num_levels` 0)."""
    centered, (offset, scale) = config.data.centered, affine(config, num_levels)
    if not num_levels:
        return lambda keys, batch: (batch["x"] - offset) / scale
    if config.data.uniform_dequantization:
        return lambda keys, batch: dequantize.uniform(keys, batch["x"], num_levels, centered=centered)
    return lambda keys, batch: dequantize.scale(batch["x"], num_levels, centered=centered)


def to_model(config: ConfigDict, num_levels: int) -> Callable[[Array], Array]:
    """From values of the data, integer levels or floats, to values as the network sees them, without noise.

    For a model trained on dequantized data, a level becomes the middle of its cell. Floats are shifted and scaled as
    `data.offset` and `data.scale` say.
    """
    data = config.data
    if not num_levels:
        offset, factor = affine(config, num_levels)
        return lambda x: (x - offset) / factor
    scale = dequantize.midpoint if data.uniform_dequantization else dequantize.scale
    return lambda levels: scale(levels, num_levels, centered=data.centered)


def to_data(config: ConfigDict, num_levels: int) -> Callable[[Array], Array]:
    """From values as the network sees them to values of the data, levels or floats; the inverse of `to_model`."""
    if not num_levels:
        offset, factor = affine(config, num_levels)
        return lambda x: x * factor + offset
    return lambda x: dequantize.quantize(x, num_levels, centered=config.data.centered)


def _check_values(config: ConfigDict, num_levels: int) -> None:
    """Errors: ValueError for settings of `data` that need images or levels, where the data have none (0 levels)."""
    data = config.data
    if data.random_flip:
        check_images(data_shape(config), "config.data.random_flip = True", "set it to False")
    if num_levels:
        return
    if data.uniform_dequantization:
        raise ValueError(
            f"config.data.uniform_dequantization = True adds noise within a level, but {data.dataset} has values "
            "without levels; set it to False."
        )
    if not data.centered:
        raise ValueError(
            f"config.data.centered = False is for data in [0, 1], but {data.dataset} has values without levels, which "
            "are not scaled to that range; set it to True."
        )
