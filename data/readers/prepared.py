"""Any data set that TFDS has prepared as array_record: `tfds:NAME` or `tfds:NAME/CONFIG`, read without TensorFlow.

x is the feature `image`, and the label the feature `label`. Every other feature of numbers is a field: a class label is
a class, a Boolean one of two, uint8 has 256 levels, and other numbers are values. Features in a group are called
GROUP_NAME. Texts, sequences and features of varying shape are left out. Without a test split, `validation` takes its
place, and without that every `test_every`-th example of the train split.
"""

import contextlib
import dataclasses
import io
import pathlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import json_format

from core.files import UNREADABLE, read_json
from core.reading import UnreadableError, reading
from core.tables import nearest
from core.text import first_line
from data import sixteen_bits
from data.decoders import ERRORS, check_scans, opened, pixels_of
from data.fields import Field, labeled
from data.images import resize_by
from data.source import CACHE_BYTES, Examples, Reading, Source, cached, in_split

_OWN = "tensorflow_datasets.core.features."
_CLASS_NAMES = ("pythonClassName", "python_class_name", "type")  # protobuf knows two spellings, TFDS an older form
_FEATURE_FILES = tuple("*/" * depth + "features.json" for depth in range(4))  # of a version, perhaps behind a link


class Feature(NamedTuple):
    """A field, and the keys under which a record has it."""

    field: Field
    keys: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A `fetch` of the records `chosen`, read many at a time; images are resized as they are fetched."""

    name: str
    records: Any
    chosen: np.ndarray
    features: Mapping[str, Feature]
    resize: str | None

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]."""
        found = {name: np.zeros((len(indices), *f.field.shape), f.field.dtype) for name, f in self.features.items()}
        for row, record in enumerate(self._read(self.chosen[indices])):
            for name, (field, keys) in self.features.items():
                value: Any = record if keys else 0  # a label where there are no classes
                for key in keys:
                    value = value[key]
                if name == "x" and self.resize:
                    value = resize_by(self.resize, value, *field.shape[:2])
                found[name][row] = value
        return found

    def _read(self, rows: np.ndarray) -> Any:
        """Records. Errors: ValueError that names the data set."""
        try:
            with reading():
                return self.records.__getitems__([int(row) for row in rows])
        except UnreadableError as error:
            raise ValueError(f"{self.name} cannot be read ({error}); prepare the data set again.") from error


@dataclasses.dataclass
class Picture:
    """A decoder of TFDS: the images of a feature, by the decoders of `data.decoders` in place of all of Pillow's."""

    name: str
    max_pixels: int
    feature: Any = None

    def setup(self, *, feature: Any) -> None:
        """Called by TFDS with the feature before each use."""
        self.feature = feature

    def decode_example_np(self, content: bytes) -> np.ndarray:
        """An image [H, W, C]. Errors: ValueError for one that cannot be read."""
        raw, dtype = io.BytesIO(content), np.dtype(self.feature.np_dtype)
        try:
            check_scans(raw)
            with opened(raw, self.max_pixels) as file:
                is_deep = dtype == np.uint16 and sixteen_bits.is_deep(file)
                pixels = sixteen_bits.read(raw, self.max_pixels) if is_deep else pixels_of(file)
        except ERRORS as error:
            raise ValueError(
                f"{self.name} has an image that cannot be read ({first_line(error)}); prepare it anew."
            ) from error
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if pixels.shape[-1] == 1:
            pixels = np.repeat(pixels, self.feature.shape[-1], axis=-1)
        return pixels.view(np.float32) if dtype == np.float32 else pixels.astype(dtype)  # four bytes are a float

    def decode_batch_example_np(self, contents: Any) -> np.ndarray:
        """Several images [n, H, W, C] of one size."""
        return np.stack([self.decode_example_np(content) for content in contents])


class Undecoded:
    """A decoder of TFDS for features that are not used: what is stored of them."""

    def setup(self, *, feature: Any) -> None:
        """Called by TFDS with the feature before each use."""

    def decode_example_np(self, content: Any) -> Any:
        """The same."""
        return content

    decode_batch_example_np = decode_ragged_example_np = decode_example_np


def open_tfds(given: str, split: str, reading: Reading) -> Source:
    """The split of a data set of TFDS. Errors: ValueError, FileNotFoundError, one sentence."""
    builder = _builder(given, reading.data_dir)
    splits = list(builder.info.splits) or ["train", "test"]
    name = next((name for name in (split, "validation") if name in splits), "train")
    records = records_of(given, name, reading.data_dir, reading.max_pixels)
    chosen = np.arange(len(records))
    if not {"test", "validation"} & set(splits):
        chosen = in_split(len(records), split, reading.test_every)
    features = _features(given, builder.info.features, reading)
    fields = {key: feature.field for key, feature in features.items()}
    source = Source(
        f"tfds:{given}", len(chosen), fields, Prepared(f"tfds:{given}", records, chosen, features, reading.resize)
    )
    return cached(source) if source.num_bytes <= CACHE_BYTES else source


def records_of(name: str, split: str, data_dir: str | None, max_pixels: int) -> Any:
    """The records of a split. Errors: FileNotFoundError, with the command, for a data set that is not prepared."""
    archive = "; or give its own archive: --config.data.dataset=cifar10:PATH" if name == "cifar10" else ""
    import tensorflow_datasets as tfds  # slow to import, and only these data sets need it

    builder = _builder(name, data_dir)
    try:
        return builder.as_data_source(split=split, decoders=decoders_of(name, builder.info.features, max_pixels))
    except (AssertionError, FileNotFoundError, NotImplementedError, ValueError) as error:
        if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD and builder.is_prepared():
            raise
        root = pathlib.Path(builder.data_dir).parents[name.count("/") + 1]
        build = shlex.join(["tfds", "build", name, "--file_format", "array_record", "--data_dir", str(root)])
        raise FileNotFoundError(
            f"no copy of {name} prepared as array_record was found in {root}; with tensorflow-cpu installed, "
            f"`{build}` prepares it{archive}"
        ) from error


def decoders_of(name: str, feature: Any, max_pixels: int) -> Any:
    """The decoders of a feature and of those in it: ours for images, and none for what is neither that nor numbers."""
    import tensorflow_datasets as tfds

    kinds = tfds.features
    if isinstance(feature, kinds.FeaturesDict):
        return {key: decoders_of(name, part, max_pixels) for key, part in feature.items()}
    if isinstance(feature, kinds.Image):
        return Picture(name, max_pixels)
    if isinstance(feature, kinds.Sequence) and not isinstance(feature, kinds.Dataset):
        return decoders_of(name, feature.feature, max_pixels)
    return None if isinstance(feature, kinds.Tensor) else Undecoded()


def _refuse_foreign_code(folder: pathlib.Path) -> None:
    """Errors: ValueError for a description of features that names Python which TFDS would import."""
    for path in (path for pattern in _FEATURE_FILES for path in folder.glob(pattern)):
        pending: list[Any] = [read_json(path)]
        while pending:
            node = pending.pop()
            pending += node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
            for named in (node.get(key) for key in _CLASS_NAMES) if isinstance(node, dict) else ():
                if isinstance(named, str) and "." in named and not named.startswith(_OWN):
                    raise ValueError(f"{path} names {named[:80]!r}, which is not executed: it is no feature of TFDS.")


def _builder(name: str, data_dir: str | None) -> Any:
    """The builder of a data set, found without the network. Errors: ValueError for a name that does not exist."""
    import tensorflow_datasets as tfds

    base, known = name.split("/", maxsplit=1)[0], tfds.list_builders(with_community_datasets=False)
    folder = pathlib.Path(data_dir or "~/tensorflow_datasets").expanduser() / base
    if base not in known and not folder.is_dir():
        raise ValueError(
            f"TFDS has no data set {base!r}, and neither has {folder.parent}; did you mean {nearest(base, known)!r}?"
        )
    _refuse_foreign_code(folder)  # which TFDS reads for a data set that it knows, too, if it has another config
    try:
        with _named(folder):
            return tfds.builder(name, data_dir=data_dir)
    except ImportError as error:
        raise ValueError(
            f"tfds:{name} in {folder.parent} cannot be read without TensorFlow: `pip install tensorflow-cpu`."
        ) from error


@contextlib.contextmanager
def _named(folder: pathlib.Path) -> Iterator[None]:
    """Says which data set is damaged. Errors: ValueError."""
    try:
        yield
    except ImportError:
        raise
    except (AssertionError, AttributeError, json_format.Error, *UNREADABLE) as error:
        if not folder.is_dir():  # it is the name that is wrong
            raise
        raise ValueError(f"{folder} cannot be read ({first_line(error)}); prepare the data set again.") from error


def _features(given: str, features: Any, reading: Reading) -> dict[str, Feature]:
    """The features of the fields. Errors: ValueError for a data set without images of one size."""
    flat = dict(_flat(features))
    image: tuple[Any, ...] = features["image"].shape if "image" in features else (None,)
    if reading.resize:
        sides = reading.shape[:2] if len(reading.shape) > 1 else (reading.image_size,) * 2
        image = (*sides, *image[2:])
    if None in image or len(image) != 3:
        raise ValueError(
            f"tfds:{given} has no images of one size as its feature image; "
            f"{'set config.data.resize to crop or stretch' if 'image' in features else 'choose another data set'}."
        )
    own = labeled(Field(image, "uint8", 256))
    first = {"x": Feature(own["x"], ("image",)), "label": Feature(own["label"], ())}
    if "label" in flat and flat["label"].field.num_classes:
        first["label"] = flat["label"]
    return first | {name: feature for name, feature in flat.items() if name not in ("image", "label")}


def _flat(features: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, Feature]]:
    """(name, feature) of all features of numbers, groups taken apart."""
    import tensorflow_datasets as tfds

    for key, feature in features.items():
        path = (*keys, key)
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _flat(feature, path)
        elif isinstance(feature, tfds.features.ClassLabel):
            names = tuple(feature.names) if feature.num_classes else ()
            yield "_".join(path), Feature(Field((), "int32", 0, feature.num_classes or 0, names), path)
        elif (
            isinstance(feature.shape, tuple) and None not in feature.shape and np.dtype(feature.np_dtype).kind in "fbiu"
        ):
            yield "_".join(path), Feature(_numbers(feature.shape, np.dtype(feature.np_dtype)), path)


def _numbers(shape: tuple[int, ...], dtype: np.dtype) -> Field:
    if dtype.kind == "b":
        return Field(shape, "uint8", 2) if shape else Field((), "int32", num_classes=2)
    return Field(shape, "uint8", 256) if dtype == np.uint8 and shape else Field(shape)
