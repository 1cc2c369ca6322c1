"""Everything that is worth measuring on a borrowed accelerator, in one command of at most eight minutes.

    python -m benchmarks.on_device [--minutes=8] [--small] [--only NAME ...]

Measures, in this order, and leaves out what no time is left for: the peak of matrix products; training of CIFAR-10
DDPM++ and of DiT-S/2 in bfloat16 (images per second, share of the peak, compile time, memory against the plan's
prediction); sampling by predictor and corrector and by a solver with 20 evaluations; likelihoods; features of
Inception with random weights. Prints a JSON line for each, the first with the device, versions, and the device's own
description, which `runtime.chips` has for plans; then a Markdown table for docs/performance.md. `--small` takes small
networks and few images, to test the command on a CPU. Data are random. An error ends one measurement, not the command.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import measurement, train_step
from builders.features import inception_extractor
from configs import default, presets
from configs.vp import cifar10_ddpmpp_continuous
from core.keys import example_keys
from evaluation.features.base import Extractor
from models import inception
from programs import plan
from programs.run import Run

COLUMNS = {  # of the table, in the order of a line
    "compile_seconds": "compile, s",
    "seconds": "time, s",
    "images_per_second": "images/s",
    "share_of_peak": "share of peak",
    "planned_mib": "planned, MiB",
    "device_peak_mib": "peak of the device, MiB",
}
STEPS, REPEATS = 5, 3


def ddpmpp(small: bool) -> ConfigDict:
    """CIFAR-10 DDPM++ in bfloat16."""
    config = cifar10_ddpmpp_continuous.get_config()
    config.model.dtype = config.sampling.dtype = "bfloat16"
    if small:
        config.data.image_size = 8
        config.model.update(nf=8, ch_mult=(1,), num_res_blocks=1, attn_resolutions=())
        config.training.batch_size = config.eval.batch_size = 8
    return config


def dit(small: bool) -> ConfigDict:
    """DiT-S/2 on latents of 256 x 256 images: [32, 32, 4], in bfloat16."""
    config = default.get_config()
    presets.cifar10(config)
    presets.flow(config)
    presets.dit(config, size="S", patch_size=2)
    config.data.update(shape=(32, 32, 4), num_channels=4, random_flip=False)
    config.model.dtype = "bfloat16"
    if small:
        config.data.shape = (8, 8, 4)
        config.model.update(nf=8, num_res_blocks=1, num_heads=2)
        config.training.batch_size = 8
    return config


def train(config: ConfigDict) -> dict[str, Any]:
    """A training step, and the memory that the plan predicts for it."""
    compiled, state, batch, facts = train_step.compile_step(config)
    seconds, _ = train_step.rates(compiled, state, batch, STEPS, REPEATS)
    size = config.training.batch_size
    rates = measurement.throughput(seconds, size, facts["flops_per_image"], measurement.dtype_of(config))
    return {"batch": size, **facts, **rates, **measurement.peak_memory()}


def repeated(lowered: Any, arguments: tuple[Any, ...], size: int) -> dict[str, Any]:
    """Compiles a program and runs it: compile time, and images per second of the best run but the first."""
    began = time.perf_counter()
    compiled = lowered.compile()
    compile_seconds = time.perf_counter() - began
    seconds = [measurement.seconds_of(lambda: compiled(*arguments)) for _ in range(2)][1]
    return {"batch": size, "compile_seconds": compile_seconds, "seconds": seconds, "images_per_second": size / seconds}


def evaluated(config: ConfigDict) -> tuple[Run, Any, Any]:
    """A run with initial parameters, and the keys of a batch of an evaluation."""
    run = Run(config, plan.WORKDIR)
    return run, run.initial_variables(), example_keys(jax.random.key(0), config.eval.batch_size)


def sample(config: ConfigDict) -> dict[str, Any]:
    """A batch of samples."""
    run, variables, keys = evaluated(config)
    generate = run.system.generate
    assert generate is not None
    lowered = jax.jit(lambda variables, keys: generate(variables, keys, None)).lower(variables, keys)
    return repeated(lowered, (variables, keys), config.eval.batch_size)


def likelihood(config: ConfigDict) -> dict[str, Any]:
    """The bits per dimension of a batch of random images."""
    run, variables, keys = evaluated(config)
    batch = run.devices.shard_batch(measurement.random_batch(config, config.eval.batch_size))
    measure: Any = run.system.bits_per_dim  # type: ignore[attr-defined]
    lowered = jax.jit(lambda *given: measure(*given, None)).lower(variables["params"], keys, batch)
    return repeated(lowered, (variables["params"], keys, batch), config.eval.batch_size)


def features(small: bool) -> dict[str, Any]:
    """Inception's features, with random weights."""
    size, side = (2, 8) if small else (50, 32)
    draw = np.random.default_rng(0)
    shapes = inception.parameter_shapes()
    params = jax.tree.map(lambda shape: draw.normal(size=shape.shape).astype(np.float32) / 100, shapes)
    extractor: Extractor = inception_extractor(params, batch_size=size)
    images = draw.integers(0, 256, (size, side, side, 3), np.uint8)
    compile_seconds = measurement.seconds_of(lambda: extractor.extract(images))
    seconds = measurement.seconds_of(lambda: extractor.extract(images))
    return {"batch": size, "compile_seconds": compile_seconds, "seconds": seconds, "images_per_second": size / seconds}


def sampler(small: bool, **settings: Any) -> ConfigDict:
    """DDPM++ with another sampler."""
    config = ddpmpp(small)
    config.eval.batch_size = 4 if small else 256
    config.sampling.update(**settings)
    if small and "num_steps" not in settings:
        config.sampling.num_steps = 3
    return config


def measurements(small: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """All measurements by name, what matters most first."""
    twenty = {"method": "solver", "solver": "unipc_3", "num_steps": 3 if small else 20, "grid": "log_snr"}
    return {
        "peak bfloat16": lambda: {"gflops_per_second": measurement.peak_flops(jnp.bfloat16) / 1e9},
        "peak float32": lambda: {"gflops_per_second": measurement.peak_flops(jnp.float32) / 1e9},
        "train DDPM++": lambda: train(ddpmpp(small)),
        "train DiT-S/2": lambda: train(dit(small)),
        "sample, 20 evaluations": lambda: sample(sampler(small, **twenty)),
        "likelihood": lambda: likelihood(sampler(small)),
        "sample, predictor and corrector": lambda: sample(sampler(small)),
        "features": lambda: features(small),
    }


def description() -> dict[str, Any]:
    """What XLA knows of a GPU, in the form of `runtime.chips`; nothing of others."""
    if jax.default_backend() != "gpu":
        return {}
    with contextlib.suppress(AttributeError, RuntimeError, NotImplementedError):
        from jax.experimental import topologies

        found: Any = topologies.get_attached_topology()
        return {"target_config": str(found.devices[0].client.topology.target_config)}
    return {}


def lines(chosen: dict[str, Callable[[], dict[str, Any]]], seconds: float) -> Iterator[dict[str, Any]]:
    """The results, each as it is there; those that would start after `seconds` are named as left out."""
    began = time.perf_counter()
    for name, measure in chosen.items():
        if time.perf_counter() - began > seconds:
            yield {"name": name, "left_out": "no time is left"}
            continue
        try:
            yield {"name": name, **measure()}
        except (RuntimeError, ValueError) as error:  # out of memory, or what this device cannot do
            yield {"name": name, "error": str(error).splitlines()[0][:200]}


def table(results: list[dict[str, Any]]) -> str:
    """The results as a table in Markdown."""
    rows = [["measurement", *COLUMNS.values()], ["---"] * (len(COLUMNS) + 1)]
    for result in results:
        shown = [measurement.rounded(result[key]) if key in result else "" for key in COLUMNS]
        rows.append([result["name"], *map(str, shown)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Measures, and prints the lines and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no measurement is started")
    parser.add_argument("--small", action="store_true", help="small networks, to test the command")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="measurements whose names begin with one of these")
    args = parser.parse_args()
    measurement.print_json(**measurement.machine(), **description())
    chosen = {
        name: measure
        for name, measure in measurements(args.small).items()
        if not args.only or name.startswith(tuple(args.only))
    }
    results = []
    for result in lines(chosen, 60 * args.minutes):
        measurement.print_json(**result)
        results.append(result)
    print(table(results))


if __name__ == "__main__":
    main()
