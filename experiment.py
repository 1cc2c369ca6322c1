"""An experiment: every object that the programs need, built from the config before anything is compiled."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import build
import build_likelihood
from configs import default
from data.pipeline import eval_batch
from data.sources import Source
from evaluation.images import grid
from evaluation.rounds import Task
from evaluation.tasks import bits_per_dim_task, loss_task, samples_task
from likelihood import dequantize
from sde.base import Array, example_keys, fold, keys_at
from training.losses import Batch
from training.state import TrainState, initial_state

# What a key is for: tags folded into the root key of the run.
INIT, TRAIN, SAMPLE, LOSS, LIKELIHOOD = range(5)


class Experiment:
    """What every program needs, built from the config before anything is compiled."""

    def __init__(self, config: ConfigDict, workdir: str, devices: Sequence[jax.Device] | None = None):
        default.validate(config)
        self.config, self.workdir = config, pathlib.Path(workdir)
        self.devices = build.devices(config, devices)
        self.sde, self.network = build.sde(config), build.network(config)
        self.score_of, self.sampler = build.score_of(config), build.sampler(config)
        self.tx, self.schedule = build.optimizer(config)
        build.choose("eval.bpd_dataset", config.eval.bpd_dataset, {"train": "train", "test": "test"})
        self.train, self.test = build.source(config, "train"), build.source(config, "test")
        self.measure_bits_per_dim = build_likelihood.bits_per_dim(config, self.sde, self.test.num_levels)
        self.per_example_loss = build.per_example_loss(config, self.test.num_levels)
        self.key = jax.random.key(config.seed)

    def _initial_state(self) -> TrainState:
        key, shape = jax.random.fold_in(self.key, INIT), (1, *self.test.shape)
        blank = np.zeros(shape, np.float32), np.ones((1,), np.float32)
        return initial_state(self.network.init({"params": key}, *blank)["params"], self.tx)

    def state(self) -> TrainState:
        """The state at step 0, on all devices."""
        return jax.jit(self._initial_state, out_shardings=self.devices.replicated)()

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state, without computing it."""
        shapes = jax.eval_shape(self._initial_state)
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=self.devices.replicated), shapes)

    def split(self, batch: dict[str, np.ndarray], stacked: bool = False) -> Batch:
        """A batch from the host, divided over the devices."""
        sharding = self.devices.split_second if stacked else self.devices.split
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), batch)

    def generate(self, num: int) -> Callable[[Any, Array], dict[str, Array]]:
        """`(params, keys [num]) -> {"samples": grey levels [num, H, W, C], "num_evals"}`, compiled.

        With `sampling.trajectory = K` also "states" [num, K, H, W, C]: the way there.
        """
        levels, centered, trajectory = self.test.num_levels, self.config.data.centered, self.config.sampling.trajectory

        def quantize(x: Array) -> Array:
            return dequantize.quantize(x, levels, centered=centered)

        def fn(params: Any, keys: Array) -> dict[str, Array]:
            score_fn = self.score_of(params, {}, None)
            drawn = self.sampler(keys, score_fn, (num, *self.test.shape), trajectory=trajectory)
            states = {} if drawn.states is None else {"states": quantize(jnp.moveaxis(drawn.states, 0, 1))}
            return {"samples": quantize(drawn.x), "num_evals": drawn.num_evals, **states}

        return jax.jit(fn)

    @functools.cached_property
    def evaluation_loss(self) -> Callable[[Any, Array, Batch], Array]:
        """`(params, keys [B], batch) -> [B]`: the training loss without dropout, compiled."""
        return jax.jit(lambda params, keys, batch: self.per_example_loss(params, keys, batch, None))

    @functools.cached_property
    def bits_per_dim(self) -> Callable[[Any, Array, Batch], dict[str, Array]]:
        """`(params, keys [B], batch) -> {"bits_per_dim" [B], "logp_nats" [B], "num_evals"}`, compiled.

        With several probes also "probe_standard_error" [B], in bits/dim; see `build_likelihood.bits_per_dim`.
        """
        measure = self.measure_bits_per_dim
        return jax.jit(lambda params, keys, batch: measure(self.score_of(params, batch, None), keys, batch["x"]))

    def sample_keys(self, checkpoint: int, start: int, num: int) -> Array:
        """The keys of samples start ... start + num - 1 of a checkpoint, divided over the devices."""
        key = fold(fold(self.key, SAMPLE), checkpoint)
        keys = example_keys(key, num, start)
        return jax.device_put(keys, self.devices.split if num % self.devices.count == 0 else self.devices.replicated)

    def picture(self, samples: np.ndarray) -> np.ndarray:
        """Grey levels [N, H, W, C] as one grid of 8-bit images, small ones enlarged."""
        shades = np.round(samples.astype(np.float32) * (255 / (self.test.num_levels - 1))).astype(np.uint8)
        return grid(shades, scale=max(1, 64 // samples.shape[1]))

    def frames(self, states: np.ndarray) -> list[np.ndarray]:
        """Grey levels [N, K, H, W, C] of K states as K grids."""
        return [self.picture(states[:, k]) for k in range(states.shape[1])]


def _batches(run: Experiment, source: Source) -> tuple[int, int, Callable[[int], dict]]:
    """Number of examples, size of a batch, and the batch of a round."""
    size = run.config.eval.batch_size
    return source.num_examples, size, lambda turn: eval_batch(source, turn, size)


def loss_of_checkpoint(run: Experiment, number: int, params: Any) -> Task:
    """The training loss of each test image, at a time and noise of its own."""
    compiled, key = run.evaluation_loss, fold(run.key, LOSS)

    def losses(batch: dict[str, Any]) -> Array:
        return compiled(params, keys_at(key, batch["index"]), run.split({k: batch[k] for k in ("x", "label")}))

    return loss_task(*_batches(run, run.test), losses)


def bits_per_dim_of_checkpoint(run: Experiment, number: int, params: Any) -> Task:
    """Bits per dimension of each image, exactly once (times `eval.bpd_repeats`)."""
    compiled, key = run.bits_per_dim, fold(run.key, LIKELIHOOD)
    source = run.train if run.config.eval.bpd_dataset == "train" else run.test

    def evaluate(batch: dict[str, Any]) -> dict[str, Array]:
        keys = keys_at(fold(key, batch["repeat"]), batch["index"])
        return compiled(params, keys, run.split({k: batch[k] for k in ("x", "label")}))

    return bits_per_dim_task(*_batches(run, source), evaluate, repeats=run.config.eval.bpd_repeats)


def samples_of_checkpoint(run: Experiment, number: int, params: Any) -> Task:
    """Samples 0 ... eval.num_samples - 1 of a checkpoint."""
    size = run.devices.round_up(min(run.config.eval.batch_size, run.config.eval.num_samples))
    compiled = run.generate(size)
    return samples_task(
        run.config.eval.num_samples,
        size,
        lambda start, count: jax.device_get(compiled(params, run.sample_keys(number, start, count))),
    )


TASKS: dict[str, Callable[[Experiment, int, Any], Task]] = {
    "loss": loss_of_checkpoint,
    "bits_per_dim": bits_per_dim_of_checkpoint,
    "samples": samples_of_checkpoint,
}
