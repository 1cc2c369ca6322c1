"""Where compiled programs are kept."""

import jax
import pytest

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
