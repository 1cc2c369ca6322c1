"""How hard XLA works on a program: less effort compiles faster, to another program."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

from core.target import platform

OPTIONS = ("jax_exec_time_optimization_effort", "jax_memory_fitting_effort")
DEFAULTS = {"tpu": -1.0}  # by platform, 0 for others; docs/performance.md has what it was chosen by
ONCE = {"cpu": {"xla_backend_optimization_level": "1"}}  # a third of the time to compile, to the same values


def jit_once(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` for a program that runs once, such as an initialization, which takes longer to compile than to run."""
    return jax.jit(function, compiler_options=ONCE.get(platform()), **options)


def effort_for(platform: str, asked: float | None) -> float:
    """The effort that is asked for; by default that of `DEFAULTS`, unless JAX's own settings have one."""
    if asked is not None:
        return asked
    return 0.0 if any(getattr(jax.config, name) for name in OPTIONS) else DEFAULTS.get(platform, 0.0)


@contextlib.contextmanager
def compile_effort(effort: float) -> Iterator[None]:
    """Inside, programs are compiled with `effort` in [-1, 1]; 0, XLA's default, leaves it to JAX's own settings.

    It is part of the key of a cached program. Compilers may ignore it, as that of CPUs does.
    """
    if not effort:
        yield
        return
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    for name in OPTIONS:
        jax.config.update(name, effort)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
