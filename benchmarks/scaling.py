"""How the state, communication, and arithmetic of a training step divide among devices, from shapes alone.

    python -m benchmarks.scaling [--chip=v5e] [--devices 1 8 64 256] [--only NAME ...]

For CIFAR-10 DDPM++ deep, CelebA-HQ 256 and FFHQ 1024 NCSN++, and DiT-XL/2 on latents, in bfloat16, with the batch size
of the config, prints three tables in Markdown. Nothing is compiled, and nothing is trained.

1. MiB of the training state per device: replicated, and sharded over all devices with `training.fsdp`.
2. Lower bounds of a step in milliseconds: arithmetic at the peak of the chip, and communication, which is
   2 (n - 1) / n times the gradients, at the peak of all of its links; more devices with the same batch.
3. The images per device below which communication takes longer than arithmetic.

The operations are those of XLA's analysis of the step before it is compiled, which counts what the model requires.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from benchmarks import on_device
from benchmarks.measurement import MIB
from configs import presets
from configs.subvp import cifar10_ddpmpp_deep_continuous
from configs.ve import celebahq_256_ncsnpp_continuous, ffhq_ncsnpp_continuous
from programs import plan
from runtime.chips import GPUS, TPUS, Chip
from runtime.devices import make_devices, set_num_cpu_devices
from runtime.topology import Topology

CHIPS = {**TPUS, **GPUS}


def dit() -> ConfigDict:
    """DiT-XL/2 on latents of 256 x 256 images, of 1,000 classes."""
    config = on_device.dit(small=False)
    presets.dit(config, size="XL", patch_size=2)
    config.training.batch_size = 256
    return config


NETWORKS: dict[str, Callable[[], ConfigDict]] = {
    "CIFAR-10 DDPM++ deep": cifar10_ddpmpp_deep_continuous.get_config,
    "CelebA-HQ 256 NCSN++": celebahq_256_ncsnpp_continuous.get_config,
    "FFHQ 1024 NCSN++": ffhq_ncsnpp_continuous.get_config,
    "DiT-XL/2, latents": dit,
}


class Step(NamedTuple):
    """A training step: parameters, bytes of the state per device by number of shards, batch size, operations."""

    num_params: int
    state: dict[int, int]
    batch_size: int
    flops: float

    def network_seconds(self, chip: Chip, count: int) -> float:
        """To exchange gradients in bfloat16, or the shards of parameters and gradients, among `count` devices."""
        return 2 * (count - 1) / count * 2 * self.num_params / chip.network_of(count)


def measured(config: ConfigDict, chip: Chip, counts: list[int]) -> Step:
    """The step of a config, on one device and in shards."""
    config.model.dtype = "bfloat16"
    devices = Topology("one device", "cpu", chip, jax.devices()[:1])
    shapes = plan.shapes_of(config, devices, plan.spec_of(config))
    flops: dict[str, float] = plan.lowered(shapes, devices).cost_analysis() or {}
    state = {count: make_devices(jax.devices()[:count], count).bytes_per_device(shapes.state) for count in {1, *counts}}
    num_params = sum(leaf.size for leaf in jax.tree.leaves(shapes.state.params))
    return Step(num_params, state, config.training.batch_size, flops["flops"])


def _bound(step: Step, chip: Chip, count: int) -> str:
    """Milliseconds of arithmetic and of communication; devices without an image are left out."""
    if count > step.batch_size:
        return "-"
    return f"{1e3 * step.flops / count / chip.bf16_flops:.2f} + {1e3 * step.network_seconds(chip, count):.2f}"


def table(title: str, columns: list[str], rows: dict[str, list[str]]) -> None:
    """Prints Markdown."""
    print(f"| {title} |", " | ".join(columns), "|\n| --- |" + " --- |" * len(columns))
    for name, cells in rows.items():
        print(f"| {name} |", " | ".join(cells), "|")
    print(flush=True)


def main() -> None:
    """Counts, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chip", default="v5e", choices=sorted(CHIPS))
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    given = parser.parse_args()
    set_num_cpu_devices(max(given.devices))
    chip, counts = CHIPS[given.chip], given.devices
    steps = {name: measured(NETWORKS[name](), chip, counts) for name in given.only}
    several = [count for count in counts if count > 1]
    table(
        "MiB of state per device",
        ["parameters", "replicated", *(f"fsdp {count}" for count in several)],
        {
            name: [f"{step.num_params:,}", *(f"{step.state[count] / MIB:,.0f}" for count in (1, *several))]
            for name, step in steps.items()
        },
    )
    table(
        f"ms on {chip.name}: arithmetic + communication",
        ["batch", "TFLOP per step", *(f"{count} device{'s' * (count > 1)}" for count in counts)],
        {
            name: [
                f"{step.batch_size:,}", f"{step.flops / 1e12:.1f}",
                *(_bound(step, chip, count) for count in counts),
            ]
            for name, step in steps.items()
        },
    )  # fmt: skip
    table(
        "images per device at which both are equal",
        [f"{count} devices" for count in several],
        {
            name: [
                f"{step.network_seconds(chip, count) * chip.bf16_flops * step.batch_size / step.flops:.2f}"
                for count in several
            ]
            for name, step in steps.items()
        },
    )


if __name__ == "__main__":
    main()
