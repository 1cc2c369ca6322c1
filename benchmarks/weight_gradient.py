"""Milliseconds of the three passes of a 3x3 convolution, and of other algorithms for its weight gradient.

    taskset -c 1 python -m benchmarks.weight_gradient [--repeats=8]

`forward`, `input`, `weight`: XLA's convolution and its gradients with respect to the input and the kernel. The others
compute the weight gradient by matrix products over all pixels of the batch. `nine`: one product per position in the
kernel. `one`: a single product with the nine shifted images concatenated. `rows`: three products with three shifted
images each. `transposed`: like `one`, with the two factors exchanged. `batched`: one product per image, then a sum.
Prints JSON lines with the processor time, the minimum over the repeats. It is exact on a single core.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measurement
from core.arrays import Array

# Batch, side, input and output channels of NCSN++ with nf = 32 on 32x32 images.
SHAPES = ((16, 32, 32, 32), (16, 32, 96, 32), (16, 16, 64, 64), (16, 16, 128, 64), (16, 8, 64, 64), (16, 8, 128, 64))


def convolution(x: Array, kernel: Array) -> Array:
    """Convolution of x [B, H, W, C] with kernel [3, 3, C, D], with zero padding."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def shifted(x: Array, axis: int, size: int) -> list[Array]:
    """The padded x shifted by -1, 0, and 1 along one axis."""
    return [jax.lax.slice_in_dim(x, k, k + size, axis=axis) for k in range(3)]


def product(a: Array, g: Array) -> Array:
    """a^T g over all pixels of the batch: [channels of a, channels of g]."""
    return jax.lax.dot_general(a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1]), (((0,), (0,)), ((), ())))


def algorithms(x: Array, g: Array, kernel: Array) -> dict[str, Callable[[Array, Array, Array], Array]]:
    """Functions of (x [B, H, W, C], output gradient g [B, H, W, D], kernel [3, 3, C, D]), by name."""
    B, side, _, C = x.shape

    def images(x: Array) -> list[Array]:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return [b for a in shifted(padded, 1, side) for b in shifted(a, 2, side)]

    def rows(x: Array, g: Array, kernel: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        concatenated = jnp.concatenate(shifted(padded, 2, side), -1)
        return jnp.stack([product(a, g) for a in shifted(concatenated, 1, side)]).reshape(kernel.shape)

    def batched(x: Array, g: Array, kernel: Array) -> Array:
        concatenated = jnp.concatenate(images(x), -1).reshape(B, -1, 9 * C)
        return jnp.einsum("bpc,bpd->bcd", concatenated, g.reshape(B, -1, g.shape[-1])).sum(0).reshape(kernel.shape)

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
    """Measures all algorithms for all shapes and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=8)
    args = parser.parse_args()
    measurement.print_json(**measurement.machine())
    rng = np.random.default_rng(0)
    for B, side, C, D in SHAPES:
        x, g, kernel = (
            jnp.asarray(rng.standard_normal(shape, np.float32))
            for shape in ((B, side, side, C), (B, side, side, D), (3, 3, C, D))
        )
        line: dict[str, Any] = {"shape": [B, side, C, D]}
        results: dict[str, Array] = {}
        for name, algorithm in algorithms(x, g, kernel).items():
            compiled = jax.jit(algorithm)
            results[name] = jax.block_until_ready(compiled(x, g, kernel))
            times = []
            for _ in range(args.repeats):
                began = time.process_time()
                jax.block_until_ready(compiled(x, g, kernel))
                times.append(time.process_time() - began)
            line[name] = 1e3 * min(times)
        expected = results["weight"]
        for name in list(results)[3:]:  # all compute the same gradient
            np.testing.assert_allclose(results[name], expected, atol=1e-3 * float(jnp.abs(expected).max()))
        measurement.print_json(**line)


if __name__ == "__main__":
    main()
