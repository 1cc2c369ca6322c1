"""Which velocity average velocities should learn from: a small perceptron of the digits, in minutes.

    python -m benchmarks.distillation [--teacher_steps=5000] [--steps=600] [--num=2000]

Trains a model of flow matching on the digits as vectors of 64 pixels, and from it models that need few calls of the
network, by each objective with each kind of velocity, all with the same network, optimizer and number of steps. Prints
the sliced Wasserstein distance between samples and the training digits, in pixels, by calls of the network.
"""

import argparse
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from builders.data import to_data
from builders.earlier import EarlierRun
from builders.network import initial_variables
from builders.objective import make_objective
from builders.sampler import make_sampler
from builders.score import make_predict_of
from configs import default, presets
from core.arrays import Array
from core.keys import example_keys, fold_in
from data.sets import digits
from evaluation.metrics.sliced_wasserstein import sliced_wasserstein
from runtime import malloc

AT_ONCE = 100  # steps of one compiled loop
BATCH_SIZE, EMA_RATE = 64, 0.99
HALVES = {"flow_share": 0.0, "first_gap": 0.5, "last_gap": 0.5}
# Objective, velocity, and other settings of `training`.
STUDENTS: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("consistency", "teacher", HALVES),
    ("consistency", "network", {**HALVES, "flow_share": 0.25}),
    ("shortcut", "example", {"flow_share": 0.5}),
    ("mean_flow", "teacher", {}),
    ("mean_flow", "network", {}),
    ("mean_flow", "example", {}),
)


def config_of(objective: str | None = None, velocity: str = "example", **settings: float) -> ConfigDict:
    """A perceptron of the digits as vectors: by flow matching, or by an objective of few steps."""
    config = default.get_config()
    presets.mlp(config)
    presets.flow(config)
    config.data.update(dataset="digits", shape=(64,), random_flip=False, uniform_dequantization=True)
    config.model.update(nf=40, num_res_blocks=3, dropout=0.0)
    if objective is not None:
        presets.few_steps(config, objective)
        config.training.update(velocity=velocity, **settings)
    return config


def train(
    config: ConfigDict, params: Any, x: np.ndarray, num_levels: int, num_steps: int, lr: float, stage: Any
) -> Any:
    """The averaged parameters after `num_steps` steps of Adam with a cosine decay."""
    objective = make_objective(config, num_levels, stage=stage)
    frozen = {} if stage is None else {"frozen": {"teacher": stage.variables}}
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, max(1, num_steps // 20), num_steps)
    tx, data, key = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)), jnp.asarray(x), jax.random.key(0)

    def step(carry: tuple[Any, Any, Any], number: Array) -> tuple[tuple[Any, Any, Any], None]:
        params, average, memory = carry
        keys = example_keys(fold_in(key, number), BATCH_SIZE)
        batch = {"x": data[jax.vmap(lambda key: jax.random.randint(key, (), 0, len(data)))(fold_in(keys, 99))]}

        def loss(params: Any) -> Array:
            losses = objective({"params": params, **frozen}, keys, batch, None, number).losses
            return sum(jnp.mean(values) for values in losses.values())  # type: ignore[return-value]

        updates, memory = tx.update(jax.grad(loss)(params), memory, params)
        params = optax.apply_updates(params, updates)
        rate = jnp.minimum(EMA_RATE, (1 + number) / (10 + number))
        return (params, jax.tree.map(lambda a, b: rate * a + (1 - rate) * b, average, params), memory), None

    many = jax.jit(lambda carry, numbers: jax.lax.scan(step, carry, numbers)[0])
    carry = params, params, tx.init(params)
    for first in range(0, num_steps, AT_ONCE):
        carry = many(carry, jnp.arange(first, min(first + AT_ONCE, num_steps)))
    return carry[1]


def started(config: ConfigDict, params: Any) -> Any:
    """The parameters at step 0, those of a trained model where there are any."""
    new = initial_variables(config, jax.random.key(1))["params"]
    flat = flax.traverse_util.flatten_dict(new) | flax.traverse_util.flatten_dict(params)
    return flax.traverse_util.unflatten_dict(flat)


def main() -> None:
    """Trains, samples and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher_steps", type=int, default=5000, help="of the model of flow matching")
    parser.add_argument("--steps", type=int, default=600, help="of each other model")
    parser.add_argument("--num", type=int, default=2000, help="samples")
    given = parser.parse_args()
    source = digits.source("train")
    x = source.fetch(np.arange(len(source)))["x"].reshape(len(source), 64)
    real = x / (source.num_levels - 1)

    def distance(config: ConfigDict, params: Any, method: str, num_steps: int) -> str:
        config = config.copy_and_resolve_references()
        config.sampling.update(method=method, num_steps=num_steps, noise_removal=False)
        predict, sampler = make_predict_of(config)(params, {}, None), make_sampler(config)
        sample: Callable[[Array], Any] = jax.jit(lambda key: sampler(key, predict, (given.num, 64)).x)
        found = np.asarray(to_data(config, source.num_levels)(sample(jax.random.key(2))))
        return f"{sliced_wasserstein(found / (source.num_levels - 1), real).value:.4f}"

    print("| objective | velocity | sampler | 1 call | 2 | 4 | 20 |\n| --- | --- | --- | --- | --- | --- | --- |")
    config = config_of()
    params = initial_variables(config, jax.random.key(0))["params"]
    teacher = train(config, params, x, source.num_levels, given.teacher_steps, 2e-3, None)
    cells = [distance(config, teacher, "solver", calls) for calls in (1, 2, 4, 20)]
    print("| flow matching | example | `unipc_2` |", " | ".join(cells), "|", flush=True)
    stage = EarlierRun(config, None, 1, lambda: {"params": teacher})
    for objective, velocity, settings in STUDENTS:
        config = config_of(objective, velocity, **settings)
        of_teacher = stage if velocity == "teacher" else None
        student = train(config, started(config, teacher), x, source.num_levels, given.steps, 1e-3, of_teacher)
        method = config.sampling.method
        cells = [distance(config, student, method, calls) for calls in (1, 2, 4)]
        shown = "its own" if objective == "shortcut" else velocity
        print(f"| {objective} | {shown} | `{method}` |", " | ".join(cells), "| |", flush=True)


if __name__ == "__main__":
    malloc.configure()
    main()
