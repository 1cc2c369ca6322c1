"""The effort of the compiler is that of a setting, and only while it is asked for."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from runtime.compile_effort import OPTIONS, compile_effort, effort_for, jit_once


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


def test_tpus_are_compiled_for_with_the_least_effort_unless_another_is_asked_for_or_set():
    assert effort_for("tpu", None) == -1.0 and effort_for("gpu", None) == effort_for("cpu", None) == 0.0
    assert effort_for("tpu", 0.0) == 0.0 and effort_for("gpu", 0.5) == 0.5
    with compile_effort(0.25):
        assert effort_for("tpu", None) == 0.0


def test_what_runs_once_is_compiled_with_less_effort_to_the_same_values():
    kinds = (nn.initializers.lecun_normal(), nn.initializers.orthogonal(), nn.initializers.uniform())

    def initial(key):
        return [kind(jax.random.fold_in(key, number), (33, 17)) for number, kind in enumerate(kinds)]

    once, always = (compiled(initial)(jax.random.key(0)) for compiled in (jit_once, jax.jit))
    for ours, expected in zip(once, always, strict=True):
        np.testing.assert_array_equal(ours, expected)
