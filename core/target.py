"""The platform that programs are compiled for, which need not be that of the process, and how exactly it multiplies."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Literal

import jax

_TARGET: contextvars.ContextVar[str | None] = contextvars.ContextVar("target", default=None)


def platform() -> str:
    """`cpu`, `gpu` or `tpu`: what a function that is traced now will run on."""
    return _TARGET.get() or jax.default_backend()


@contextlib.contextmanager
def compiling_for(name: str) -> Iterator[None]:
    """Inside, `platform()` is `name`: functions are traced for devices that this process does not have."""
    token = _TARGET.set(name)
    try:
        yield
    finally:
        _TARGET.reset(token)


@contextlib.contextmanager
def float32_products(precision: Literal["high", "highest"]) -> Iterator[None]:
    """Inside, products of float32 arrays are traced with a precision; one that is set already stays.

    By default a TPU rounds both factors to bfloat16, and a GPU to TF32, of 10 bits. "high": three products of bfloat16
    on a TPU, TF32 on a GPU. "highest": float32. A CPU computes in float32 in any case, and is asked for nothing.
    """
    asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    if platform() == "cpu" or asked is not None:
        yield
    else:
        with jax.default_matmul_precision(precision):
            yield
