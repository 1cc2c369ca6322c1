"""The effort of the compiler is that of a setting, and only while it is asked for."""

import jax
import pytest

from runtime.compile_effort import OPTIONS, compile_effort


def test_an_effort_holds_inside_and_the_default_leaves_what_is_set():
    before = [getattr(jax.config, name) for name in OPTIONS]
    with compile_effort(-0.5):
        assert [getattr(jax.config, name) for name in OPTIONS] == [-0.5, -0.5]
        with compile_effort(0.0):
            assert [getattr(jax.config, name) for name in OPTIONS] == [-0.5, -0.5]
    assert [getattr(jax.config, name) for name in OPTIONS] == before
    with pytest.raises(ValueError), compile_effort(1.0):
        raise ValueError
    assert [getattr(jax.config, name) for name in OPTIONS] == before
