"""What the benchmarks share: configs on the command line, turns, medians and spreads, peak rates, memory, JSON lines.

How operations are counted. XLA's cost analysis of the program before optimisation: each multiplication and each
addition of a product, a convolution or an elementwise operation is one, with what a convolution does not multiply (its
padding) left out; a transcendental function is none. It counts the body of a loop once, so that loops are counted here
as the cost of one evaluation times the number of evaluations. What XLA recomputes or leaves out afterwards changes
nothing: the figure says how much the model asks for, and the share of the peak how well that is served.

The peak is the rate of a large square matrix product on one device, in the same run, in the type of the model and at
the default precision of matrix products, which on NVIDIA's cards is TF32 for float32.
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
SIZES = {"cpu": (2048, 4)}  # side of the matrices of the peak, and products in one program
LARGE = (8192, 16)


def add_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """The flags --config=FILE and --config.KEY=VALUE for every setting, as `main.py` has them."""
    parser.add_argument("--config", required=required, metavar="FILE", help="an experiment: a file of configs/")
    for key, _ in default.flatten(default.get_config()):
        parser.add_argument(f"--config.{key}", dest=f"config.{key}", nargs="?", const="True", help=argparse.SUPPRESS)


def add_devices(parser: argparse.ArgumentParser) -> None:
    """The flag --cpu_devices, as `main.py` has it."""
    parser.add_argument("--cpu_devices", type=int, help="on a CPU, how many devices it counts as")


def config_of(arguments: argparse.Namespace) -> ConfigDict:
    """The experiment that the flags describe. Errors: ValueError where a setting is wrong."""
    given = {key: value for key, value in vars(arguments).items() if key.startswith("config.") and value is not None}
    words = [f"--config={arguments.config}", *(f"--{key}={value}" for key, value in given.items())]
    own = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", lock_config=True, flag_values=own, sys_argv=["", *words])
    own(["", *words])
    default.validate(own.config)
    return own.config


def random_batch(config: ConfigDict, size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise in the shape of the data, in 8 bits, with labels: what a step costs does not depend on what it sees."""
    draw = np.random.default_rng(seed)
    levels = draw.integers(0, 256, (size, *data_shape(config)), np.uint8)
    return {"x": levels, "label": draw.integers(0, max(1, config.model.num_labels), (size,), np.int32)}


def cost_of(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall time of one call, and the time that all processors together spent on it in this process."""
    before = time.process_time()
    wall = seconds_of(work)
    return wall, time.process_time() - before


def settled(result: Any) -> Any:
    """`result` once it is there."""
    return jax.block_until_ready(result)


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall time of one call, its arrays included."""
    began = time.perf_counter()
    settled(work())
    return time.perf_counter() - began


def alternate(
    jobs: Mapping[Any, Callable[[], Any]], repeats: int, measure: Callable[[Callable[[], Any]], Any]
) -> dict[Any, list[Any]]:
    """What `measure` finds of each job in each turn; they take turns, and who begins changes."""
    names = list(jobs)
    times: dict[Any, list[Any]] = {name: [] for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(measure(jobs[name]))
    return times


def summary(values: Sequence[float], unit: str = "seconds") -> dict[str, Any]:
    """Median, and least and largest."""
    return {unit: statistics.median(values), "spread": [min(values), max(values)]}


def flops_of(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of one call, as XLA counts them; see the head of this module for how."""
    return flops_of_lowered(jax.jit(function).lower(*arguments))


def flops_of_lowered(lowered: Any) -> float:
    """The same of what is lowered already."""
    return float((lowered.cost_analysis() or {}).get("flops", math.nan))


def peak_flops(dtype: Any = jnp.float32, repeats: int = 5) -> float:
    """Operations a second of products of large square matrices of `dtype` on one device: the best of the repeats."""
    side, num = SIZES.get(jax.default_backend(), LARGE)
    a = jax.random.normal(jax.random.key(0), (side, side), dtype) / math.sqrt(side)

    @jax.jit
    def products(a: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, num, lambda _, b: a @ b, a)

    settled(products(a))
    return 2 * side**3 * num / min(seconds_of(lambda: products(a)) for _ in range(repeats))


def memory(compiled: Any) -> dict[str, float]:
    """MiB of each device that a program needs by XLA's plan: all of it, what is not in or out, what is donated."""
    found = compiled.memory_analysis()
    if found is None:
        return {}
    whole = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return {
        "planned_mib": (whole - found.alias_size_in_bytes) / MIB,
        "temporary_mib": found.temp_size_in_bytes / MIB,
        "donated_mib": found.alias_size_in_bytes / MIB,
    }


def most_memory() -> dict[str, float]:
    """MiB in use at most so far: of the first device, where it tells, and of the process on the host."""
    there = jax.local_devices()[0].memory_stats() or {}
    device = {"device_peak_mib": there["peak_bytes_in_use"] / MIB} if "peak_bytes_in_use" in there else {}
    return device | {"host_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def achieved(seconds: Sequence[float], size: int, flops_per_image: float, dtype: Any) -> dict[str, Any]:
    """What `size` images in `seconds`, of each turn, amount to, beside the peak of all devices, measured now."""
    shares = 1 if jax.default_backend() == "cpu" else jax.device_count()  # devices of one CPU use the same cores
    middle, peak = statistics.median(seconds), peak_flops(dtype) * shares
    flops = flops_per_image * size / middle
    return {
        **summary(seconds),
        "repeats": len(seconds),
        "images_per_second": size / middle,
        "images_per_second_spread": [size / max(seconds), size / min(seconds)],
        "gflops_per_second": flops / 1e9,
        "peak_gflops_per_second": peak / 1e9,
        "share_of_peak": flops / peak,
    }


def machine() -> dict[str, Any]:
    """Device and versions, which every line carries."""
    device = jax.devices()[0]
    return {
        "device": processor() if device.platform == "cpu" else device.device_kind,
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
    }


def processor() -> str:
    """The processor and its number of cores, as far as the system tells them."""
    cores = len(os.sched_getaffinity(0))
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.machine()
    return f"cpu: {model}, {cores} cores"


def dtype_of(config: ConfigDict) -> Any:
    """The type that the network computes in."""
    return jnp.dtype(config.model.get("dtype", "float32"))


def tell(**line: Any) -> None:
    """One JSON line, floats to four digits."""
    print(json.dumps({key: rounded(value) for key, value in line.items()}), flush=True)


def rounded(value: Any) -> Any:
    """Floats to four digits, in lists too."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value
