"""What the benchmarks share: configs on the command line, interleaved repeats, medians and spreads, peak rates, memory.

How operations are counted: by XLA's cost analysis of the program before optimization. Each multiplication and each
addition in a matrix product, convolution, or elementwise operation counts as one operation. Multiplications with the
padding of a convolution and transcendental functions do not count. The analysis counts the body of a loop once, so the
benchmarks multiply the cost of one evaluation by the number of evaluations. What XLA later recomputes or eliminates
makes no difference: the count is what the model requires, and the fraction of the peak is how efficiently that runs.

The peak is the rate of a product of large square matrices on one device, measured in the same run, with the model's
dtype and the default precision of matrix products, which on NVIDIA GPUs is TF32 for float32.
"""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from builders.shape import data_shape
from configs import default

MIB = 2**20
SIZES = {"cpu": (2048, 4)}  # of the peak measurement: side of the matrices, number of products in one program
LARGE = (8192, 16)


def add_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds the flags --config=FILE and --config.KEY=VALUE for every setting, as in `main.py`."""
    parser.add_argument("--config", required=required, metavar="FILE", help="an experiment: a file in configs/")
    for key, _ in default.flatten(default.get_config()):
        parser.add_argument(f"--config.{key}", dest=f"config.{key}", nargs="?", const="True", help=argparse.SUPPRESS)


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Adds the flag --cpu_devices, as in `main.py`."""
    parser.add_argument("--cpu_devices", type=int, help="number of JAX devices to split a CPU into")


def config_of(arguments: argparse.Namespace) -> ConfigDict:
    """The config that the flags describe. Errors: ValueError for an invalid setting."""
    given = {key: value for key, value in vars(arguments).items() if key.startswith("config.") and value is not None}
    argv = ["", f"--config={arguments.config}", *(f"--{key}={value}" for key, value in given.items())]
    parsed = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", lock_config=True, flag_values=parsed, sys_argv=argv)
    parsed(argv)
    default.validate(parsed.config)
    return parsed.config


def random_batch(config: ConfigDict, size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random uint8 data in the config's shape, with labels: the cost of a step does not depend on the values."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (size, *data_shape(config)), np.uint8)
    return {"x": levels, "label": rng.integers(0, max(1, config.model.num_labels), (size,), np.int32)}


def wall_and_processor_seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock time of one call, and the processor time of this process, summed over all cores."""
    before = time.process_time()
    wall = seconds_of(work)
    return wall, time.process_time() - before


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall-clock time of one call, until the arrays that it returns are ready."""
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def interleave(
    jobs: Mapping[Any, Callable[[], Any]], repeats: int, measure: Callable[[Callable[[], Any]], Any]
) -> dict[Any, list[Any]]:
    """What `measure` returns for each job, by repeat. The jobs alternate, and each repeat starts with another one."""
    names = list(jobs)
    times: dict[Any, list[Any]] = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(measure(jobs[name]))
    return times


def summary(values: Sequence[float], unit: str = "seconds") -> dict[str, Any]:
    """Median, minimum, and maximum."""
    return {unit: statistics.median(values), "spread": [min(values), max(values)]}


def flops_of(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of one call, as counted by XLA; see the module docstring."""
    return flops_of_lowered(jax.jit(function).lower(*arguments))


def flops_of_lowered(lowered: Any) -> float:
    """Operations of a lowered program."""
    return float((lowered.cost_analysis() or {}).get("flops", math.nan))


def peak_flops(dtype: Any = jnp.float32, repeats: int = 5) -> float:
    """Operations per second of products of large square matrices of `dtype` on one device: the best of the repeats."""
    side, num = SIZES.get(jax.default_backend(), LARGE)
    a = jax.random.normal(jax.random.key(0), (side, side), dtype) / math.sqrt(side)

    @jax.jit
    def products(a: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, num, lambda _, b: a @ b, a)

    jax.block_until_ready(products(a))
    return 2 * side**3 * num / min(seconds_of(lambda: products(a)) for _ in range(repeats))


def planned_memory(compiled: Any) -> dict[str, float]:
    """Memory in MiB that XLA plans for a program on each device: the total, temporaries, and donated arguments."""
    plan = compiled.memory_analysis()
    if plan is None:
        return {}
    total = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return {
        "planned_mib": (total - plan.alias_size_in_bytes) / MIB,
        "temporary_mib": plan.temp_size_in_bytes / MIB,
        "donated_mib": plan.alias_size_in_bytes / MIB,
    }


def peak_memory() -> dict[str, float]:
    """Peak memory in MiB so far: of the first device, if it reports this, and of the process on the host."""
    stats = jax.local_devices()[0].memory_stats() or {}
    device = {"device_peak_mib": stats["peak_bytes_in_use"] / MIB} if "peak_bytes_in_use" in stats else {}
    return device | {"host_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def throughput(seconds: Sequence[float], size: int, flops_per_image: float, dtype: Any) -> dict[str, Any]:
    """The rates of processing `size` images in `seconds` (one entry per repeat), and the peak rate of all devices."""
    num_devices = 1 if jax.default_backend() == "cpu" else jax.device_count()  # the devices of a CPU share its cores
    median, peak = statistics.median(seconds), peak_flops(dtype) * num_devices
    flops = flops_per_image * size / median
    return {
        **summary(seconds),
        "repeats": len(seconds),
        "images_per_second": size / median,
        "images_per_second_spread": [size / max(seconds), size / min(seconds)],
        "gflops_per_second": flops / 1e9,
        "peak_gflops_per_second": peak / 1e9,
        "share_of_peak": flops / peak,
    }


def machine() -> dict[str, Any]:
    """Device and versions, for the first line of a benchmark."""
    device = jax.devices()[0]
    return {
        "device": processor() if device.platform == "cpu" else device.device_kind,
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "preloaded": os.environ.get("LD_PRELOAD", ""),
    }


def processor() -> str:
    """The processor model, as far as the system reports it, and the number of cores."""
    cores = len(os.sched_getaffinity(0))
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.machine()
    return f"cpu: {model}, {cores} cores"


def dtype_of(config: ConfigDict) -> Any:
    """The dtype in which the network computes."""
    return jnp.dtype(config.model.get("dtype", "float32"))


def print_json(**line: Any) -> None:
    """Prints one JSON line, with floats rounded to four digits."""
    print(json.dumps({key: rounded(value) for key, value in line.items()}), flush=True)


def rounded(value: Any) -> Any:
    """`value` with floats rounded to four significant digits, in lists too."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value
