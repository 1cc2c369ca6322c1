"""A network as a feature extractor: one compiled batch size, and the hash of its parameters."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from core.target import float32_products
from evaluation.features.base import Extractor


def network(
    name: str, params: Any, apply: Callable[[Any, jax.Array], Mapping[str, jax.Array]], *, batch_size: int = 50
) -> Extractor:
    """`apply(params, images)`, compiled for images [batch_size, H, W, C] uint8, as an extractor.

    The network always sees `batch_size` images: larger inputs are split and the last batch is padded with zeros. It is
    therefore compiled once per image size, and features do not depend on how many images are passed at once. The hash
    is that of `params`. Errors: ValueError for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"{name} got batches of {batch_size} images; use at least 1")
    on_device = jax.device_put(params)

    def exact(params: Any, images: jax.Array) -> Mapping[str, jax.Array]:
        with float32_products("highest"):
            return apply(params, images)

    compiled = jax.jit(exact)

    def extract(images: np.ndarray) -> dict[str, np.ndarray]:
        parts = [jax.device_get(compiled(on_device, batch)) for batch in padded_batches(images, batch_size)]
        return {key: np.concatenate([part[key] for part in parts])[: len(images)] for key in parts[0]}

    return Extractor(name, tree_hash(params), extract)


def padded_batches(images: Any, batch_size: int) -> Iterator[Any]:
    """`images` [N, ...] in batches of `batch_size`, the last one padded with zeros."""
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        missing = batch_size - len(batch)
        yield batch if not missing else np.pad(np.asarray(batch), ((0, missing), *[(0, 0)] * (batch.ndim - 1)))


def tree_hash(params: Any) -> str:
    """SHA-256 of the names, shapes, dtypes and values of a tree of parameters, in the order of their names."""
    digest = hashlib.sha256()
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    for key, leaf in sorted(((jax.tree_util.keystr(key), leaf) for key, leaf in leaves), key=lambda pair: pair[0]):
        array = np.asarray(leaf)
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
