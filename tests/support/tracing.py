"""`jax.jit` that counts how often a function is traced, for tests that nothing is compiled twice."""

from collections.abc import Callable
from typing import Any

import jax


class CountingJit:
    """`jax.jit(fn, **options)`; `num_traces`: how often it was traced, which precedes every compilation."""

    def __init__(self, fn: Callable[..., Any], **options: Any) -> None:
        self.num_traces = 0

        def traced(*args: Any) -> Any:
            self.num_traces += 1
            return fn(*args)

        self.jitted = jax.jit(traced, **options)

    def __call__(self, *args: Any) -> Any:
        return self.jitted(*args)
