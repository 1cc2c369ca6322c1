"""The three passes of a 3x3 convolution, and other ways to its weight gradient: milliseconds of the processors.

    taskset -c 1 python -m benchmarks.weight_gradient [--repeats=8]

`forward`, `input`, `weight`: XLA's convolution and its two gradients. The weight gradient as matrix products over all
pixels of the batch: `nine`, one for each place of the kernel; `one`, with the nine shifted images side by side;
`rows`, three with three of them side by side; `transposed`, as `one` with the two factors in the other order;
`batched`, a product for each image, summed. JSON lines, least of the repeats; a single core counts its time exactly.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measurement

Array = jax.Array
# Batch, side, channels in and out: those of NCSN++ with nf = 32 on 32x32.
SHAPES = ((16, 32, 32, 32), (16, 32, 96, 32), (16, 16, 64, 64), (16, 16, 128, 64), (16, 8, 64, 64), (16, 8, 128, 64))


def convolution(x: Array, kernel: Array) -> Array:
    """x [B, H, W, C] with kernel [3, 3, C, D], padded with zeros."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def shifted(x: Array, axis: int, size: int) -> list[Array]:
    """The padded x moved by -1, 0 and 1 along one axis."""
    return [jax.lax.slice_in_dim(x, k, k + size, axis=axis) for k in range(3)]


def product(a: Array, g: Array) -> Array:
    """a^T g over all pixels of the batch: [channels of a, channels of g]."""
    return jax.lax.dot_general(a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1]), (((0,), (0,)), ((), ())))


def ways(x: Array, g: Array, kernel: Array) -> dict[str, Callable[[Array, Array, Array], Array]]:
    """Functions of (x [B, H, W, C], gradient of the output g [B, H, W, D], kernel)."""
    B, side, _, C = x.shape

    def images(x: Array) -> list[Array]:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return [b for a in shifted(padded, 1, side) for b in shifted(a, 2, side)]

    def rows(x: Array, g: Array, kernel: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        together = jnp.concatenate(shifted(padded, 2, side), -1)
        return jnp.stack([product(a, g) for a in shifted(together, 1, side)]).reshape(kernel.shape)

    def batched(x: Array, g: Array, kernel: Array) -> Array:
        together = jnp.concatenate(images(x), -1).reshape(B, -1, 9 * C)
        return jnp.einsum("bpc,bpd->bcd", together, g.reshape(B, -1, g.shape[-1])).sum(0).reshape(kernel.shape)

    def transposed(x: Array, g: Array, kernel: Array) -> Array:
        return product(g, jnp.concatenate(images(x), -1)).T.reshape(kernel.shape)

    return {
        "forward": lambda x, g, kernel: convolution(x, kernel),
        "input": lambda x, g, kernel: jax.vjp(lambda x: convolution(x, kernel), x)[1](g)[0],
        "weight": lambda x, g, kernel: jax.vjp(lambda k: convolution(x, k), kernel)[1](g)[0],
        "nine": lambda x, g, kernel: jnp.stack([product(a, g) for a in images(x)]).reshape(kernel.shape),
        "one": lambda x, g, kernel: product(jnp.concatenate(images(x), -1), g).reshape(kernel.shape),
        "rows": rows,
        "transposed": transposed,
        "batched": batched,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=8)
    args = parser.parse_args()
    measurement.tell(**measurement.machine())
    draw = np.random.default_rng(0)
    for B, side, C, D in SHAPES:
        x, g, kernel = (
            jnp.asarray(draw.standard_normal(shape, np.float32))
            for shape in ((B, side, side, C), (B, side, side, D), (3, 3, C, D))
        )
        line: dict[str, Any] = {"shape": [B, side, C, D]}
        found: dict[str, Array] = {}
        for name, way in ways(x, g, kernel).items():
            compiled = jax.jit(way)
            found[name] = jax.block_until_ready(compiled(x, g, kernel))
            times = []
            for _ in range(args.repeats):
                began = time.process_time()
                jax.block_until_ready(compiled(x, g, kernel))
                times.append(time.process_time() - began)
            line[name] = 1e3 * min(times)
        for name in list(found)[3:]:  # they are the same gradient
            np.testing.assert_allclose(found[name], found["weight"], atol=1e-3 * float(jnp.abs(found["weight"]).max()))
        measurement.tell(**line)


if __name__ == "__main__":
    main()
