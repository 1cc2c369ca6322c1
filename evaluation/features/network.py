"""What images are compared by: functions from images to features, each with a name and a hash for the statistics.

An `Extractor` is called with images [B, H, W, C] uint8, grey or RGB, and returns "features" [B, D] and, where it is a
classifier, "logits" [B, K], float32. Statistics of one extractor are refused for another, by name and hash.
"""

import dataclasses
import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.inception import SIZE, InceptionV3, resize

FeatureFn = Callable[[np.ndarray], Mapping[str, Any]]
INCEPTION = "inception-2015-12-05"
CELLS = 8  # of thumbnails, along each side


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A feature function under a name, with a hash that changes when its features could."""

    name: str
    hash: str
    extract: FeatureFn

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of `images` [B, H, W, C] uint8, or of what else the function takes: [B, ...] uint8 or float32.

        Errors: ValueError for other images, and for a function that returns something else than features.
        """
        if images.ndim < 2 or images.dtype not in (np.uint8, np.float32) or not images.size:
            raise ValueError(
                f"features of {images.dtype} {images.shape} were asked for; give uint8 or float32 [B, ...]"
            )
        result = {name: np.asarray(value, np.float32) for name, value in self.extract(images).items()}
        if "features" not in result or result.keys() - {"features", "logits"}:
            raise ValueError(
                f"{self.name} returned {', '.join(sorted(result)) or 'nothing'}; it must be features and perhaps logits"
            )
        for name, value in result.items():
            if value.ndim != 2 or len(value) != len(images):
                raise ValueError(f"{self.name} returned {name} {value.shape} for {len(images)} images; give [B, D]")
            if not np.isfinite(value).all():
                raise ValueError(f"{self.name} returned {name} that are not finite")
        return result


def pixels(num_levels: int = 256) -> Extractor:
    """The pixels themselves, flattened, in [0, 1]: [B, H W C] = x / (num_levels - 1); x where there are no levels."""
    largest = num_levels - 1 if num_levels else 1

    def extract(images: np.ndarray) -> dict[str, np.ndarray]:
        return {"features": images.reshape(len(images), -1) / np.float32(largest)}

    return Extractor("pixels", hashlib.sha256(f"x / {largest}".encode()).hexdigest(), extract)


def thumbnails(num_levels: int = 256) -> Extractor:
    """Means of the pixels in 8 x 8 cells, in [0, 1]: [B, H, W, C] to [B, 64 C]; of fewer cells where sides are shorter.

    So few numbers that the covariance of some hundred images is known, which that of their pixels is not.
    """

    def extract(images: np.ndarray) -> dict[str, np.ndarray]:
        sides = images.shape[1:3]
        starts = [np.arange(min(CELLS, side)) * side // min(CELLS, side) for side in sides]
        sums = np.add.reduceat(np.add.reduceat(images.astype(np.float32), starts[0], axis=1), starts[1], axis=2)
        rows, columns = (np.diff([*first, side]) for first, side in zip(starts, sides, strict=True))
        means = sums / (np.outer(rows, columns)[..., None] * np.float32(num_levels - 1))
        return {"features": means.reshape(len(images), -1).astype(np.float32)}

    return Extractor("thumbnails", hashlib.sha256(f"{CELLS} cells, x / {num_levels - 1}".encode()).hexdigest(), extract)


def network(
    name: str, params: Any, apply: Callable[[Any, jax.Array], Mapping[str, jax.Array]], *, batch_size: int = 50
) -> Extractor:
    """A network as features: `apply(params, images)` with images [batch_size, H, W, C] uint8, traced by `jax.jit`.

    The network always sees `batch_size` images: more are cut, fewer are filled up with black. So it is compiled once
    for each size of images, and features do not depend on how many images come at once. The hash is that of `params`.
    Errors: ValueError for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"{name} got batches of {batch_size} images; use at least 1")
    on_device = jax.device_put(params)
    compiled = jax.jit(apply)

    def extract(images: np.ndarray) -> dict[str, np.ndarray]:
        parts = [jax.device_get(compiled(on_device, batch)) for batch in _filled(images, batch_size)]
        return {key: np.concatenate([part[key] for part in parts])[: len(images)] for key in parts[0]}

    return Extractor(name, tree_hash(params), extract)


def inception(params: Any, *, batch_size: int = 50) -> Extractor:
    """Features [B, 2048] and logits [B, 1008] of the FID InceptionV3; grey images get three equal channels.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017, section on the Frechet distance.
    """
    enlarge = jax.jit(lambda x: jnp.broadcast_to(resize(x), (len(x), SIZE, SIZE, 3)))
    graph = network(INCEPTION, params, _apply_inception, batch_size=batch_size)

    def extract(images: np.ndarray) -> dict[str, np.ndarray]:
        if images.shape[-1] not in (1, 3):
            raise ValueError(f"Inception got images with {images.shape[-1]} channels; it takes 1 or 3")
        parts = []
        for batch in _filled(images, batch_size):  # resized apart, so that the network is compiled for one size only
            parts.append(graph.extract(enlarge(batch)))
        return {key: np.concatenate([part[key] for part in parts])[: len(images)] for key in parts[0]}

    return Extractor(graph.name, graph.hash, extract)


def imported(path: str) -> Extractor:
    """The function that the import path `package.module:function` names.

    It takes images [B, H, W, C] uint8 and returns {"features": [B, D]}, perhaps with "logits": [B, K]. Its hash is its
    attribute `hash`, a string, if it has one, and otherwise that of the file which defines it: a function that reads
    weights should tell their hash. Errors: ValueError, one sentence, for a path that leads nowhere.
    """
    module_name, _, function_name = path.partition(":")
    if not module_name or not function_name:
        raise ValueError(f"feature function {path!r} is not of the form package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"feature function {path!r}: {module_name} cannot be imported ({error})") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"feature function {path!r}: {module_name} has no function {function_name}")
    told = getattr(function, "hash", None)
    return Extractor(path, told if isinstance(told, str) else _source_hash(path, module), function)


def tree_hash(params: Any) -> str:
    """SHA-256 over the names, shapes, types and numbers of a tree of parameters, in the order of their names."""
    digest = hashlib.sha256()
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    for key, leaf in sorted(((jax.tree_util.keystr(key), leaf) for key, leaf in leaves), key=lambda pair: pair[0]):
        array = np.asarray(leaf)
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _apply_inception(params: Any, x: jax.Array) -> Any:
    return InceptionV3().apply({"params": params}, x)


def _filled(images: Any, batch_size: int) -> Iterator[Any]:
    """`images` in batches of `batch_size`, the last one filled up with zeros."""
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        missing = batch_size - len(batch)
        yield batch if not missing else np.pad(np.asarray(batch), ((0, missing), *[(0, 0)] * (batch.ndim - 1)))


def _source_hash(path: str, module: Any) -> str:
    """SHA-256 of the source of `module`."""
    try:
        return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()
    except (OSError, TypeError) as error:
        raise ValueError(f"feature function {path!r} has neither a source file nor an attribute hash") from error
