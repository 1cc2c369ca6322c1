"""Data sets by name: `load(name, split)` returns a `Source` that fetches any examples by their index.

Stock data sets are read from a copy that TFDS has prepared as array_record; reading never needs TensorFlow, though
preparing most of them does. The names, splits and crops are those of the published experiments.
"""

import dataclasses
import difflib
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from core.text import first_line
from data import images, published
from data.fields import Field, labeled
from data.readers import own, prepared
from data.readers.containers import Folder
from data.sets import blobs, co2, digits, digits_thickness, digits_words, pendulum, phantoms, photos, tumors
from data.source import CACHE_BYTES, Examples, Reading, Source, cached, from_arrays

__all__ = ["CACHE_BYTES", "Examples", "Reading", "Source", "cached", "eval_split", "from_arrays", "load"]

Resize = Callable[[np.ndarray, int], np.ndarray]  # (image [H, W, C], size) -> [size, size, C]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a data set of the published experiments is read: TFDS name, splits, usual size, and how images get it.

    `{category}` and `{size}` in `tfds_name` are filled in; an empty name means a folder of image files.
    """

    tfds_name: str
    splits: tuple[str, ...]
    eval_split: str
    size: int
    resize: Resize
    num_classes: int = 0


def load(
    dataset: str,
    split: str,
    data_dir: str | None = None,
    image_size: int | None = None,
    *,
    category: str | None = None,
    num_channels: int = 3,
    shape: tuple[int, ...] | None = None,
    reading: Reading = Reading(),  # noqa: B008 (it cannot change)
) -> Source:
    """The `split` of a data set by its published name, in any case, or by a form and a path, such as "folder:PATH".

    data_dir: where TFDS keeps its data (None: its own default). For "folder" it contains the image files, for "ffhq"
        they are in its subfolder `ffhq`; for "celebahq" and "ffhq" it may also be, or contain, the published TFRecord
        files. Embedded data sets do not use it.
    image_size: None for the usual one. category: of LSUN. num_channels, shape: of "synthetic"; `shape` takes
        precedence. reading: how data given by a path are read, see `data.readers.own`.
    Errors: ValueError for an unknown name, split, category or size, FileNotFoundError for a data set that has not been
    prepared.
    """
    if own.is_own(dataset):
        return own.open_own(dataset, split, reading)
    name = _known("data set", dataset.lower(), (*RECIPES, *EMBEDDED, *SPECIAL))
    if name in EMBEDDED:
        source = _embedded(name, split)
        _check_size(source, image_size)
        return source
    if name == "synthetic" and shape:
        return _noise(split, shape)
    if name in SPECIAL:
        return SPECIAL[name](split, data_dir, image_size, num_channels, reading)
    recipe = RECIPES[name]
    _known(f"split of {dataset}", split.split("[")[0], recipe.splits)
    size = image_size or recipe.size
    if name in TFRECORDS and data_dir and (path := published.find(pathlib.Path(data_dir), size)):
        return _tfrecords(name, path, size, recipe)
    if not recipe.tfds_name:
        return _folder(name, data_dir, size, recipe, reading.max_pixels)
    return _stock(_tfds_name(name, recipe, size, category), split, data_dir, size, recipe, reading.max_pixels)


def eval_split(dataset: str) -> str:
    """The split on which the published experiments evaluate; "train" if it is the only one."""
    if own.is_own(dataset):
        return "test"
    name = _known("data set", dataset.lower(), (*RECIPES, *EMBEDDED, *SPECIAL))
    if name in RECIPES:
        return RECIPES[name].eval_split
    return "train" if name == "folder" else "test"


def resize_of(dataset: str) -> Resize | None:
    """How images of a published data set get their size; None for other data."""
    recipe = None if own.is_own(dataset) else RECIPES.get(dataset.lower())
    return recipe.resize if recipe else None


def _known(what: str, value: str, choices: tuple[str, ...]) -> str:
    """`value`. Errors: ValueError with the choices and the nearest of them, unless it is one of `choices`."""
    if value in choices:
        return value
    near = difflib.get_close_matches(value, choices, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {what} {value!r}; choose one of {', '.join(choices)}{hint}")


def _tfds_name(name: str, recipe: Recipe, size: int, category: str | None) -> str:
    """The data set's name in TFDS, with its category or resolution filled in and checked."""
    import tensorflow_datasets as tfds  # slow to import, and only stock data sets need it

    base, _, slot = recipe.tfds_name.partition("/")
    if slot:
        what = slot.strip("{}")
        value = str(size) if what == "size" else category or ""
        _known(f"{what} of {name}", value, tuple(config.name for config in tfds.builder_cls(base).BUILDER_CONFIGS))
    return recipe.tfds_name.format(category=category, size=size)


def _stock(tfds_name: str, split: str, data_dir: str | None, size: int, recipe: Recipe, max_pixels: int) -> Source:
    """A split that TFDS has prepared; every image is resized as it is fetched."""
    import tensorflow_datasets as tfds

    records = prepared.records_of(tfds_name, split, data_dir, max_pixels)
    channels = tfds.builder(tfds_name, data_dir=data_dir).info.features["image"].shape[-1]
    source = _records(tfds_name, records, size, channels, recipe)
    return cached(source) if source.num_bytes <= CACHE_BYTES else source


def _records(name: str, records: Any, size: int, channels: int, recipe: Recipe) -> Source:
    """A source over TFDS `records`, which are read many at a time."""
    shape = (size, size, channels)

    def fetch(indices: np.ndarray) -> Examples:
        x = np.empty((len(indices), *shape), np.uint8)
        labels = np.zeros(len(indices), np.int32)
        for i, record in enumerate(records.__getitems__([int(index) for index in indices])):
            x[i] = recipe.resize(record["image"], size)
            labels[i] = record["label"] if recipe.num_classes else 0
        return {"x": x, "label": labels}

    return Source(name, len(records), labeled(Field(shape, "uint8", 256), recipe.num_classes), fetch)


@functools.cache
def _embedded(name: str, split: str) -> Source:
    """A split of an embedded data set; it stays in memory."""
    return EMBEDDED[name](_known(f"split of {name}", split, ("train", "test")))


def _check_size(source: Source, image_size: int | None) -> None:
    """Errors: ValueError for an image size that is not the size of the source's examples."""
    shape = source.shape
    if image_size is not None and shape[:-1] != (image_size, image_size):
        sides = "x".join(map(str, shape[:-1])) or f"vectors of {shape[0]}"
        remedy = f"set it to {shape[0]}" if len(shape) == 3 else f"set data.shape to {shape}"
        raise ValueError(f"image_size {image_size} was given, but {source.name} are {sides}; {remedy}.")


def _synthetic(split: str, data_dir: str | None, image_size: int | None, num_channels: int, reading: Reading) -> Source:
    """Uniform random pixels and labels."""
    del data_dir, reading  # nothing is read
    return _noise(split, (image_size or 32, image_size or 32, num_channels))


def _noise(split: str, shape: tuple[int, ...]) -> Source:
    """Uniform random levels and labels; example i of a split is always the same, whatever is fetched with it."""
    stream = ("train", "test").index(_known("split of synthetic", split, ("train", "test")))
    num_examples = (512, 128)[stream]

    def fetch(indices: np.ndarray) -> Examples:
        rngs = [np.random.default_rng([stream, int(index)]) for index in indices]
        labels = np.array([rng.integers(0, 10) for rng in rngs], np.int32)
        x = [rng.integers(0, 256, shape, np.uint8) for rng in rngs]
        return {"x": np.array(x, np.uint8).reshape(-1, *shape), "label": labels}

    return Source("synthetic", num_examples, labeled(Field(shape, "uint8", 256), 10), fetch)


def _own_folder(
    split: str, data_dir: str | None, image_size: int | None, num_channels: int, reading: Reading
) -> Source:
    """The image files below `data_dir` itself, in RGB."""
    del num_channels  # read as RGB
    _known("split of folder", split, ("train",))
    return _folder("", data_dir, image_size or 256, RECIPES["ffhq"], reading.max_pixels)


def _folder(name: str, data_dir: str | None, size: int, recipe: Recipe, max_pixels: int) -> Source:
    """The image files below `data_dir/name`, sorted by path, in RGB."""
    root = pathlib.Path(data_dir or ".") / name
    names = sorted(entry.name for entry in Folder(root).entries()) if root.is_dir() else []
    files = [root / path for path in names if images.is_image(pathlib.PurePosixPath(path))]
    if not files:
        raise FileNotFoundError(f"no .png or .jpg file was found below {root}; set data_dir to where the images are")

    def fetch(indices: np.ndarray) -> Examples:
        x = np.empty((len(indices), size, size, 3), np.uint8)
        for i, index in enumerate(indices):
            try:
                with files[index].open("rb") as raw:
                    x[i] = recipe.resize(images.decode_color(raw, max_pixels), size)
            except images.ERRORS as error:
                reason = first_line(error)
                raise ValueError(f"{files[index]} cannot be read as an image ({reason}); replace it.") from error
        return {"x": x, "label": np.zeros(len(indices), np.int32)}

    return Source(name or "folder", len(files), labeled(Field((size, size, 3), "uint8", 256)), fetch)


def _tfrecords(name: str, path: pathlib.Path, size: int, recipe: Recipe) -> Source:
    """The images of a published TFRecord file."""
    records = published.open_records(path)

    def fetch(indices: np.ndarray) -> Examples:
        x = np.empty((len(indices), size, size, 3), np.uint8)
        for i, image in enumerate(records.read(indices)):
            x[i] = recipe.resize(image, size)
        return {"x": x, "label": np.zeros(len(indices), np.int32)}

    return Source(name, len(records), labeled(Field((size, size, 3), "uint8", 256)), fetch)


# The published experiments evaluate CelebA and LSUN on "validation"; CelebA-HQ and FFHQ have only one split.
RECIPES: dict[str, Recipe] = {
    "cifar10": Recipe("cifar10", ("train", "test"), "test", 32, images.resize_square, 10),
    "svhn": Recipe("svhn_cropped", ("train", "test", "extra"), "test", 32, images.resize_square, 10),
    "celeba": Recipe("celeb_a", ("train", "validation", "test"), "validation", 64, images.crop_face),
    "lsun": Recipe("lsun/{category}", ("train", "validation"), "validation", 256, images.crop_scene),
    "celebahq": Recipe("celeb_a_hq/{size}", ("train",), "train", 256, images.resize_square),
    "ffhq": Recipe("", ("train",), "train", 256, images.crop_square),
}
TFRECORDS = ("celebahq", "ffhq")
EMBEDDED: dict[str, Callable[[str], Source]] = {
    "digits": digits.source,
    "digits_thickness": digits_thickness.source,
    "digits_words": digits_words.source,
    "photos": photos.source,
    "co2": co2.source,
    "blobs": blobs.source,
    "pendulum": functools.partial(pendulum.images, 24),
    "pendulum_96": functools.partial(pendulum.images, 96),
    "pendulum_few_labels": functools.partial(pendulum.images, 24, labeled_share=0.2),
    "phantoms": phantoms.images,
    "phantoms_complex": phantoms.complex_images,
    "phantoms_lesions": phantoms.lesions,
    "phantoms_segmentation": phantoms.segmentation,
    "phantoms_16": functools.partial(phantoms.volumes, 16),
    "phantoms_32": functools.partial(phantoms.volumes, 32),
    "tumors": tumors.source,
    "tumours": tumors.source,  # as in older configs
}
SPECIAL: dict[str, Callable[[str, str | None, int | None, int, Reading], Source]] = {
    "synthetic": _synthetic,
    "folder": _own_folder,
}
