"""Checksums of a checkpoint, which detect a flipped bit; Orbax alone restores it silently."""

import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from core.reading import MODEST

_ARRAYS = "d"  # Orbax's folders of the files of arrays


def checksums(tree: Any) -> dict[str, str]:
    """`{path: "dtype[shape] CRC-32"}` for every leaf of a tree of arrays, which are copied to the host."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): _of_array(_on_host(leaf)) for path, leaf in leaves}


def checksum_of_json(content: Any) -> str:
    """The CRC-32 of a value as JSON, independent of the order of its keys."""
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def unreadable_part(folder: pathlib.Path) -> str | None:
    """What is wrong with a part of a checkpoint that should not even be opened; None where all of it may be.

    Readers would wait for a pipe forever, and take as much memory as a file has bytes, except for those of arrays.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir():
            if path.is_symlink():
                return f"{name} is a link to a folder"
        elif not path.is_file():
            return f"{name} is not a file"
        elif path.parent.name != _ARRAYS and (size := path.stat().st_size) > MODEST:
            return f"{name} has {size:,} bytes"
    return None


def damaged(stored: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The leaves, sorted, whose checksums differ or that only one of the two has."""
    return sorted(path for path in stored.keys() | found.keys() if stored.get(path) != found.get(path))


def _on_host(leaf: Any) -> np.ndarray:
    """The whole array on the host; one that is sharded over processes is gathered by all of them."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _of_array(array: np.ndarray) -> str:
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return f"{array.dtype}{list(array.shape)} {zlib.crc32(data):08x}"
