"""JAX's persistent compilation cache."""

import os
import pathlib

import jax
from jax._src.lru_cache import LRUCache

from core.files import write_atomically

_PUT = LRUCache.put


def use_compile_cache(folder: str | None) -> None:
    """Keeps compiled programs in `folder`; by default JAX_COMPILATION_CACHE_DIR, else ~/.cache/score_sde_jax.

    "off" keeps none. Processes may share a folder, and be killed at any time; see `write_entries_atomically`.
    """
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = folder or os.environ.get("JAX_COMPILATION_CACHE_DIR", str(home / "score_sde_jax"))
    jax.config.update("jax_compilation_cache_dir", None if folder == "off" else folder)
    write_entries_atomically()


def write_entries_atomically() -> None:
    """Lets JAX write each entry of its cache under a temporary name first.

    JAX writes entries in place, and never replaces one: half an entry, of a process that was killed, would be compiled
    anew and warned of ever after, and another process could read an entry that is being written.
    """
    LRUCache.put = _put  # type: ignore[method-assign, assignment]


def _put(cache: LRUCache, key: str, value: bytes) -> None:
    path = pathlib.Path(cache.path / f"{key}-cache")
    if cache.eviction_enabled or not path.parent.is_dir():  # a limit, for which JAX locks the folder, or a bucket
        return _PUT(cache, key, value)
    if not path.exists():
        write_atomically(path, lambda file: file.write(value))
    return None
