r"""A training step of any config, compiled as in training: images per second, operations, fraction of the peak.

    python -m benchmarks.train_step --config=configs/ve/cifar10_ncsnpp_continuous.py [--cpu_devices=2] \
        [--config.KEY=VALUE ...]

The step is that of `main.py --mode=train`: scaling, noise, forward and backward pass, clipping, Adam, EMA. The state is
donated, and the batch comes from the host. The data are random, in the config's shape. Prints two JSON lines: compile
time and planned memory, then the measurement, with the median, minimum, and maximum over `--repeats` repeats of
`--steps` steps each. `benchmarks/measurement.py` describes how operations and the peak are counted; `flops_per_image`
includes the backward pass. On several devices the batch is sharded, and the peak is that of all of them.
"""

import argparse
import functools
import statistics
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from benchmarks import measurement
from builders.devices import make_devices, make_exchange, set_num_cpu_devices
from builders.network import initial_variables
from builders.objective import make_objective
from builders.optimizer import make_averages, make_ema, make_optimizer
from builders.score import working_params
from builders.state import abstract_state, make_state
from core.target import platform
from runtime import malloc
from runtime.compile_effort import compile_effort, effort_for, jit_once
from training.objectives.base import make_loss_fn
from training.step import make_train_step

NUM_LEVELS = 256  # of the random data


def compile_step(config: ConfigDict) -> tuple[Any, Any, Any, dict[str, Any]]:
    """The compiled step, a state, a batch on the host with its sharding, and what is known from compilation."""
    devices = make_devices(config)
    tx, schedule = make_optimizer(config)
    exchange = make_exchange(config, devices, functools.partial(working_params, config))
    step = make_train_step(
        make_loss_fn(make_objective(config, NUM_LEVELS, devices.gather_params)),
        tx,
        make_ema(config),
        schedule,
        jax.random.key(0),
        averages=make_averages(config),
        skip_nonfinite=config.training.on_nonfinite == "skip",
        num_parts=config.training.grad_accumulation,
        exchange=exchange,
    )
    shardings = devices.state_shardings(abstract_state(config, functools.partial(initial_variables, config)))
    initial = jit_once(
        lambda: make_state(config, initial_variables(config, jax.random.key(1))), out_shardings=shardings
    )
    state, batch = initial(), measurement.random_batch(config, config.training.batch_size)
    example = jax.device_put(batch, devices.batch_sharding)
    lowered = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None)).lower(state, example)
    began = time.perf_counter()
    with compile_effort(effort_for(platform(), config.training.compile_effort)):
        compiled = lowered.compile()
    num_programs = 1 if exchange is None else devices.count  # operations are counted in one
    facts = {
        "compile_seconds": time.perf_counter() - began,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "flops_per_image": num_programs * measurement.flops_of_lowered(lowered) / config.training.batch_size,
        **measurement.planned_memory(compiled),
    }
    return compiled, state, (batch, devices.batch_sharding), facts


def rates(compiled: Any, state: Any, batch: Any, steps: int, repeats: int) -> tuple[list[float], list[float]]:
    """Wall-clock and processor seconds per step, for each repeat; transfers of batches overlap with computation."""
    host_batch, sharding = batch
    seconds, processor = [], []
    for _ in range(repeats + 1):
        began, before = time.perf_counter(), time.process_time()
        for _ in range(steps):
            state, metrics = compiled(state, jax.device_put(host_batch, sharding))
        jax.block_until_ready((state, metrics))
        seconds.append((time.perf_counter() - began) / steps)
        processor.append((time.process_time() - before) / steps)
    return seconds[1:], processor[1:]  # the first repeat is a warm-up


def main() -> None:
    """Measures a training step and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measurement.add_config(parser)
    parser.add_argument("--steps", type=int, default=10, help="steps per repeat")
    parser.add_argument("--repeats", type=int, default=7)
    measurement.add_devices(parser)
    args = parser.parse_args()
    config = measurement.config_of(args)
    set_num_cpu_devices(config, args.cpu_devices, training=True)
    compiled, state, batch, facts = compile_step(config)
    size, dtype = config.training.batch_size, measurement.dtype_of(config)
    measurement.print_json(config=args.config, batch=size, dtype=dtype.name, **facts, **measurement.machine())
    seconds, processor = rates(compiled, state, batch, args.steps, args.repeats)
    line = measurement.throughput(seconds, size, facts["flops_per_image"], dtype)
    if jax.default_backend() == "cpu":
        line |= {"processor_seconds": statistics.median(processor), "processor_seconds_least": min(processor)}
    measurement.print_json(**line, **measurement.peak_memory())


if __name__ == "__main__":
    malloc.configure()
    main()
