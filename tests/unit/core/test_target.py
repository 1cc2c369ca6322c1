"""What functions are traced for, and with which precision."""

import jax
import jax.numpy as jnp
import pytest

from core.target import compiling_for, float32_products, platform


def precision(target, asked="highest", default=None):
    """The precision of a product that is traced for a platform, in the words of the lowered program."""

    def product(x):
        with float32_products(asked):
            return x @ x

    with compiling_for(target), jax.default_matmul_precision(default):
        text = jax.jit(product).lower(jnp.ones((2, 2))).as_text()
    return text.partition("precision = [")[2].partition(",")[0]


def test_the_platform_is_that_of_the_process_or_the_one_compiled_for():
    assert platform() == jax.default_backend()
    with compiling_for("tpu"):
        assert platform() == "tpu"
        with compiling_for("gpu"):
            assert platform() == "gpu"
        assert platform() == "tpu"
    with pytest.raises(ValueError), compiling_for("tpu"):
        raise ValueError
    assert platform() == jax.default_backend()


@pytest.mark.parametrize(
    ("target", "asked", "default", "traced"),
    [
        ("tpu", "highest", None, "HIGHEST"),
        ("gpu", "high", None, "HIGH"),
        ("cpu", "highest", None, "DEFAULT"),  # nothing changes where products are exact
        ("tpu", "highest", "default", "DEFAULT"),  # what the user, or a caller, has set stays
        ("tpu", "high", "highest", "HIGHEST"),
    ],
)
def test_products_are_traced_with_the_precision_asked_for_unless_one_is_set(target, asked, default, traced):
    assert precision(target, asked, default) == traced
