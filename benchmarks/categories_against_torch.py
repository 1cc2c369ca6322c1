"""Sampling of categories compared with PyTorch, with the same transformer, weights, and batch.

    python -m benchmarks.categories_against_torch [--config=configs/vqddm/digits_absorbing.py] [--calls 8 16 64]
        [--batch=64] [--repeats=5] [--cpu_devices=2]

Ancestral unmasking in as many steps as there are network calls. `benchmarks/torch_transformer.py` is the network in
PyTorch; the run first checks that both have the same number of parameters and, to a relative error of 1e-4, the same
output. The two alternate. `ratio` is PyTorch's time divided by ours: the median over the repeats, with minimum and
maximum. PyTorch has one thread per core, ours the batch sharded over `--cpu_devices`, by default as many as `main.py`
uses to sample. Prints JSON lines. Needs PyTorch: `pip install torch`.
"""

import argparse
import importlib
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import against_torch, measurement
from builders import categorical
from builders.devices import make_devices, set_num_cpu_devices
from builders.network import example_inputs, make_network
from configs import default
from core.keys import example_keys
from runtime import malloc

try:
    import torch

    from benchmarks import torch_transformer
except ImportError:
    torch = None  # type: ignore[assignment]

TARGET = 1.0


def config_of(path: str, batch: int, calls: int) -> ConfigDict:
    """The network of an experiment on the digits, without classes, and a number of steps."""
    config = importlib.import_module(path.removesuffix(".py").replace("/", ".")).get_config()
    config.model.update(num_labels=0, dropout=0.0)
    config.training.batch_size = config.eval.batch_size = batch
    config.sampling.num_steps = calls
    config.data.update(shape=(8, 8, 1), num_levels=config.model.num_categories)
    default.validate(config)
    return config


def weights(config: ConfigDict) -> Any:
    """Random weights, of the layers too that begin at zero."""
    params = jax.jit(make_network(config).init)(jax.random.key(0), *example_inputs(config))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: np.asarray(a) + rng.normal(scale=0.05, size=a.shape).astype(a.dtype), params)


def check(config: ConfigDict, params: Any, network: Any) -> dict[str, Any]:
    """Checks that both networks are the same function; the relative error. Errors: SystemExit if they differ."""
    num, rng = config.model.num_categories, np.random.default_rng(1)
    z, time = rng.integers(0, num + 1, (4, 8, 8, 1)), np.array([20.0, 300.0, 600.0, 990.0], np.float32)
    with jax.default_matmul_precision("highest"):
        ours = np.asarray(jax.jit(make_network(config).apply)({"params": params}, jnp.asarray(z), jnp.asarray(time)))
    with torch.inference_mode():
        theirs = network(torch.tensor(z.reshape(4, -1)), torch.tensor(time)).numpy()
    return against_torch.agreement(params, network, ours.reshape(theirs.shape), theirs, 1e-4)


def sampling(config: ConfigDict, params: Any, network: Any) -> against_torch.Pair:
    """A batch of samples in both frameworks."""
    sampler, predict_of, devices = (
        categorical.make_sampler(config),
        categorical.make_predict_of(config),
        make_devices(config),
    )
    shape = (config.eval.batch_size, 8, 8, 1)
    sample = jax.jit(lambda params, keys: sampler(keys, predict_of(params, {}, None), shape).x)
    replicated = jax.device_put(params, devices.replicated)
    keys = jax.device_put(example_keys(jax.random.key(2), shape[0]), devices.batch_sharding)
    theirs = torch_transformer.sampling(network, shape[0], 64, config.model.num_categories, config.sampling.num_steps)
    return against_torch.Pair(lambda: np.asarray(sample(replicated, keys)), theirs, shape[0])


def main() -> None:
    """Checks that the networks agree, measures, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/vqddm/digits_absorbing.py")
    parser.add_argument("--calls", type=int, nargs="+", default=[8, 16, 64], help="network calls")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    measurement.add_devices(parser)
    args = parser.parse_args()
    if torch is None:
        raise SystemExit(against_torch.NEEDED.replace("against_torch", "categories_against_torch"))
    config = config_of(args.config, args.batch, 1)
    set_num_cpu_devices(config, args.cpu_devices, training=False)
    params, model = weights(config), config.model
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = torch_transformer.Network(model.num_categories, (8, 8), model.nf, model.num_res_blocks, model.num_heads)
    torch_transformer.load(network, params)
    facts = {**measurement.machine(), "torch": torch.__version__, "batch": args.batch}
    measurement.print_json(**facts, **check(config, params, network))
    for calls in args.calls:
        pair = sampling(config_of(args.config, args.batch, calls), params, network)
        against_torch.compare(f"{calls} calls", pair, args.repeats, "samples", target=TARGET)


if __name__ == "__main__":
    malloc.configure()
    main()
