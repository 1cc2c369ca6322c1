"""The training step of large networks, compiled for slices of 1 to 256 devices that are not here.

    python -m benchmarks.scaling_plans [--chip=v5e] [--devices 1 8 64 256] [--fsdp N ...] [--only NAME ...]

Compiles the steps of `benchmarks/scaling.py` with as many images per device on any number of devices, and prints a row
of Markdown for each: with data parallelism, with `training.fsdp` over all devices, and over N of them. All figures are
per device: memory, communication by kind, and lower bounds of the time by arithmetic, memory, and network. Operations
and bytes of loops count once. The compiler must be installed, as for `--mode=plan`, which compiles the same for one
config. A step takes some minutes.
"""

import argparse
from collections.abc import Iterator

from ml_collections import ConfigDict

from benchmarks import scaling
from benchmarks.measurement import MIB
from programs import plan
from runtime import topology
from runtime.chips import GIB, GPUS
from runtime.cost import Cost

IMAGES = {"CIFAR-10 DDPM++ deep": 16, "CelebA-HQ 256 NCSN++": 4, "FFHQ 1024 NCSN++": 1, "DiT-XL/2, latents": 8}
COLUMNS = [
    "devices", "fsdp", "GiB needed", "temporaries", "MiB exchanged", "ms by arithmetic", "by memory", "by network",
    "CPU s to compile",
]  # fmt: skip


def cost(config: ConfigDict, images: int, chip: str, count: int, shards: int) -> Cost:
    """A step on `count` devices, with `images` on each. Errors: ValueError where the compiler is not installed."""
    devices = topology.find(f"{chip}x{count}" if chip in GPUS else f"{chip}-{count}")
    config.model.dtype = "bfloat16"
    config.training.update(batch_size=images * count, fsdp=shards)
    config.eval.batch_size = count
    shapes = plan.shapes_of(config, devices, plan.spec_of(config))
    return plan.cost_of(shapes, devices)


def cells(cost: Cost) -> Iterator[str]:
    """The figures of a step, from `GiB needed`; exchanges of less than 1 MiB are left out."""
    if not cost.fits:
        yield f"{cost.needed / GIB:.1f} of {cost.memory / GIB:.1f}: does not fit"
        yield from ["-"] * 5
    else:
        sizes: dict[str, int] = {}
        for name, size in cost.communication.items():
            kind = name.split()[0]
            sizes[kind] = sizes.get(kind, 0) + size
        yield f"{cost.needed / GIB:.2f}"
        yield f"{(cost.temporaries or 0) / GIB:.2f}"
        yield ", ".join(f"{kind} {size / MIB:,.0f}" for kind, size in sizes.items() if size >= MIB) or "none"
        for name in ("compute", "memory", "network"):
            yield f"{1e3 * cost.seconds[name]:.1f}" if name in cost.seconds else "-"
    yield f"{cost.compile_cpu_seconds:.0f}"


def main() -> None:
    """Compiles, and prints a row for each step as soon as it is compiled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chip", default="v5e", choices=sorted(scaling.CHIPS))
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--fsdp", type=int, nargs="+", default=[], help="numbers of shards beside 1 and all devices")
    parser.add_argument("--only", nargs="+", choices=list(IMAGES), default=list(IMAGES))
    given = parser.parse_args()
    topology.leave_devices()
    print("| network |", " | ".join(COLUMNS), "|\n| --- |" + " --- |" * len(COLUMNS), flush=True)
    for name in given.only:
        for count in given.devices:
            for shards in sorted({1, count} | {number for number in given.fsdp if number < count}):
                found = cost(scaling.NETWORKS[name](), IMAGES[name], given.chip, count, shards)
                print(
                    f"| {name}, {IMAGES[name]} per device | {count} | {shards} |",
                    " | ".join(cells(found)),
                    "|",
                    flush=True,
                )


if __name__ == "__main__":
    main()
