"""The diffusion transformer compared with PyTorch: the same output, and the time of a forward pass.

    python -m benchmarks.dit_against_torch [--size=S] [--patch_size=2] [--side=32] [--batch=4] [--qk_norm]
        [--repeats=5] [--cpu_devices=1]

The network is a published size of DiT on latents of `--side` x `--side` x 4 with 1,000 classes, with random weights.
`benchmarks/torch_transformer.py` is the same network in PyTorch. The run first checks that both have the same number of
parameters and, to a relative error of 1e-5, the same output. Then the two alternate. `ratio` is PyTorch's time divided
by ours: the median over the repeats, with minimum and maximum. Prints JSON lines. Needs PyTorch: `pip install torch`.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import against_torch, categories_against_torch, measurement
from builders.devices import set_num_cpu_devices
from builders.network import make_network
from configs import default, presets
from runtime import malloc

try:
    import torch

    from benchmarks import torch_transformer
except ImportError:
    torch = None  # type: ignore[assignment]

Forward = Callable[[], np.ndarray]


def config_of(arguments: argparse.Namespace) -> ConfigDict:
    """The network of a published size."""
    config = default.get_config()
    presets.dit(config, size=arguments.size, patch_size=arguments.patch_size)
    config.data.update(image_size=arguments.side, num_channels=4, centered=True)
    config.model.update(num_labels=1000, qk_norm=arguments.qk_norm)
    config.training.batch_size = config.eval.batch_size = arguments.batch
    default.validate(config)
    return config


def forwards(config: ConfigDict, params: Any, network: Any) -> tuple[Forward, Forward]:
    """A forward pass of one batch in both frameworks."""
    rng, model = np.random.default_rng(1), config.model
    batch, side = config.training.batch_size, config.data.image_size
    x = rng.standard_normal((batch, side, side, 4), np.float32)
    time, labels = rng.uniform(0, 1000, batch).astype(np.float32), rng.integers(0, model.num_labels, batch)
    apply = jax.jit(make_network(config).apply)
    given = jax.device_put(({"params": params}, x, time, {"labels": labels.astype(np.int32)}))
    tensors = tuple(map(torch.tensor, (x, time, labels)))

    @torch.inference_mode()
    def theirs() -> np.ndarray:
        return np.asarray(network(*tensors).numpy())

    return lambda: np.asarray(apply(*given)), theirs


def check(params: Any, network: Any, ours: Forward, theirs: Forward) -> dict[str, Any]:
    """Checks that both networks are the same function; the relative error. Errors: SystemExit if they differ."""
    with jax.default_matmul_precision("highest"):
        return against_torch.agreement(params, network, ours(), theirs(), 1e-5)


def main() -> None:
    """Checks that the networks agree, measures, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="S", choices=("S", "B", "L", "XL"))
    parser.add_argument("--patch_size", type=int, default=2)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--qk_norm", action="store_true", help="normalize queries and keys")
    parser.add_argument("--repeats", type=int, default=5)
    measurement.add_devices(parser)
    arguments = parser.parse_args()
    if torch is None:
        raise SystemExit(against_torch.NEEDED.replace("against_torch", "dit_against_torch"))
    config = config_of(arguments)
    set_num_cpu_devices(config, arguments.cpu_devices, training=False)
    params, model = categories_against_torch.weights(config), config.model
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = torch_transformer.DiT(
        (arguments.side,) * 2, 4, len(params["Embed_0"]["embedding"]),
        nf=model.nf, num_blocks=model.num_res_blocks, num_heads=model.num_heads, patch_size=model.patch_size,
        qk_norm=model.qk_norm,
    )  # fmt: skip
    torch_transformer.load(network, params)
    ours, theirs = forwards(config, params, network)
    facts = {**measurement.machine(), "torch": torch.__version__, "batch": arguments.batch}
    measurement.print_json(**facts, **check(params, network, ours, theirs))
    pair = against_torch.Pair(ours, theirs, arguments.batch)
    against_torch.compare(f"DiT-{arguments.size}/{arguments.patch_size} forward", pair, arguments.repeats, "images")


if __name__ == "__main__":
    malloc.configure()
    main()
