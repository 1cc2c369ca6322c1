r"""Sampling with any config, compiled as for `--mode=sample`: images per second, operations, fraction of the peak.

    python -m benchmarks.sampling --config=configs/ve/cifar10_ncsnpp_continuous.py --config.sampling.num_steps=100 \
        [--batch=16] [--cpu_devices=2] [--config.KEY=VALUE ...]

A batch of samples is one program, from the prior to the final denoising step. The weights are random. This does not
matter for samplers with a fixed number of steps; the number of steps of the adaptive sampler (`sampling.method=ode`)
depends on them. Prints two JSON lines like `benchmarks.train_step`; operations are those of one call of the network
times the number of calls.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measurement
from builders.devices import make_devices, set_num_cpu_devices
from builders.network import example_inputs, make_network
from builders.sampler import make_sampler
from builders.score import make_predict_of
from builders.shape import data_shape
from core.keys import example_keys
from runtime import malloc


def main() -> None:
    """Measures sampling and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measurement.add_config(parser)
    parser.add_argument("--batch", type=int, help="images per batch; training.batch_size by default")
    parser.add_argument("--repeats", type=int, default=5)
    measurement.add_devices(parser)
    args = parser.parse_args()
    config = measurement.config_of(args)
    if args.batch:
        config.training.batch_size = config.eval.batch_size = args.batch
    set_num_cpu_devices(config, args.cpu_devices, training=False)
    size, dtype, devices = config.training.batch_size, measurement.dtype_of(config), make_devices(config)
    network, predict_of, sampler = make_network(config), make_predict_of(config), make_sampler(config)
    params = jax.jit(network.init, out_shardings=devices.replicated)(jax.random.key(0), *example_inputs(config))[
        "params"
    ]
    shape = (size, *data_shape(config))
    sample = jax.jit(lambda params, keys: sampler(keys, predict_of(params, {}, None), shape)[:2])
    keys = [jax.device_put(example_keys(jax.random.key(k), size), devices.batch_sharding) for k in (1, 2)]
    lowered = sample.lower(params, keys[0])
    began = time.perf_counter()
    compiled = lowered.compile()
    compile_seconds = time.perf_counter() - began
    flops_per_call = measurement.flops_of(
        lambda params, x, t: predict_of(params, {}, None)(x, t).noise, params, jnp.zeros(shape), jnp.ones(size)
    )
    num_evals = int(compiled(params, keys[0])[1])  # also a warm-up
    facts = {
        "compile_seconds": compile_seconds,
        "evaluations": num_evals,
        "flops_per_image": num_evals * flops_per_call / size,
    }
    facts |= {"parameters": sum(leaf.size for leaf in jax.tree.leaves(params)), **measurement.planned_memory(compiled)}
    measurement.print_json(config=args.config, batch=size, dtype=dtype.name, **facts, **measurement.machine())
    seconds = [measurement.seconds_of(lambda: np.asarray(compiled(params, keys[1])[0])) for _ in range(args.repeats)]
    measurement.print_json(
        **measurement.throughput(seconds, size, facts["flops_per_image"], dtype), **measurement.peak_memory()
    )


if __name__ == "__main__":
    malloc.configure()
    main()
