"""Where compiled programs are kept."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from core import files
from runtime.compile_cache import use_compile_cache


@pytest.mark.parametrize(
    ("flag", "environment", "expected"),
    [
        (None, None, "/home/of/score_sde_jax"),
        (None, "/from/environment", "/from/environment"),
        ("/from/flag", "/from/environment", "/from/flag"),
        ("off", "/from/environment", None),
    ],
)
def test_compiled_programs_are_kept_unless_the_flag_says_off(flag, environment, expected, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/of")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    if environment:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", environment)
    try:
        use_compile_cache(flag)
        assert jax.config.jax_compilation_cache_dir == expected
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def folder(tmp_path):
    """A cache of its own, for all that is compiled."""
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    compilation_cache.reset_cache()
    use_compile_cache(str(tmp_path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield tmp_path
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", before[0])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


def compile_anew():
    jax.clear_caches()
    return jax.jit(jnp.sin).lower(1.0).compile()


def test_an_entry_whose_writing_is_interrupted_is_written_by_the_next_process(folder, monkeypatch):
    def killed(descriptor):
        raise OSError("killed here")  # before it is on the disk

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="killed here"):
        patch.setattr(files.os, "fsync", killed)
        compile_anew()
    assert not list(folder.glob("*-cache"))
    compile_anew()
    (entry,) = folder.glob("*-cache")
    size = entry.stat().st_size
    compile_anew()  # read, without a warning
    assert entry.stat().st_size == size > 0
