"""Cost of a training step of the network of time series by length: about linear, where attention would be quadratic.

    python -m benchmarks.series_length [--lengths 512 4096] [--repeats 5]

Prints a Markdown table: seconds of the fastest of a few gradients of the network, and relative to the first length.
"""

import argparse
import time

import jax
import jax.numpy as jnp

from models.networks.s4_residual import S4Residual

BATCH = 4


def seconds(network: S4Residual, length: int, repeats: int) -> float:
    """The shortest time of a gradient with respect to the parameters, for a batch of series of one channel."""
    x, at = jnp.ones((BATCH, length, 1)), jnp.ones((BATCH,))
    params = jax.jit(network.init)(jax.random.key(0), x, at)
    step = jax.jit(jax.grad(lambda params: jnp.mean(jnp.square(jnp.asarray(network.apply(params, x, at))))))
    jax.block_until_ready(step(params))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(step(params))
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--state_size", type=int, default=128)
    arguments = parser.parse_args()
    network = S4Residual(nf=arguments.width, state_size=arguments.state_size)
    found = {length: seconds(network, length, arguments.repeats) for length in arguments.lengths}
    first = found[arguments.lengths[0]]
    print("| length | seconds | relative |\n| --- | --- | --- |")
    for length, taken in found.items():
        print(f"| {length} | {taken:.3f} | {taken / first:.1f} |")


if __name__ == "__main__":
    main()
