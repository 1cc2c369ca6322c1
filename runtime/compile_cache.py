"""JAX's persistent compilation cache."""

import os
import pathlib

import jax


def use_compile_cache(folder: str | None) -> None:
    """Keeps compiled programs in `folder`; by default JAX_COMPILATION_CACHE_DIR, else ~/.cache/score_sde_jax.

    "off" keeps none. Processes may share a folder: an incomplete entry counts as missing.
    """
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = folder or os.environ.get("JAX_COMPILATION_CACHE_DIR", str(home / "score_sde_jax"))
    jax.config.update("jax_compilation_cache_dir", None if folder == "off" else folder)
