"""Two tiny systems for the tests of stages: a linear encoder, and a linear denoiser of its codes."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import ExampleKey, draw_normal, fold_in
from systems.base import Context, Evaluation, FetchBatches, Generate, System
from tests.support.runs import tiny
from training.objectives.base import Batch, Terms, Variables

SIZE = 4  # of a code


def flat(batch: Batch) -> Array:
    """Images in [0, 1] as vectors [B, D]."""
    return batch["x"].reshape(len(batch["x"]), -1) / 255.0


class Encoder(System):
    """x = decode encode (x - mean) + mean, with two losses, a metric, and a collection of what the codes were."""

    def __init__(self, context: Context):
        super().__init__(context)
        self.objective = self.terms

    def init(self, key: Array) -> Variables:
        """Parameters, and the running statistics of codes."""
        num = math.prod(self.spec.shape)
        return {
            "params": {"encode": jax.random.normal(key, (num, SIZE)) / num**0.5, "mean": {"bias": jnp.zeros((1, num))}},
            "usage": {"count": jnp.int32(0), "mean": jnp.zeros(SIZE)},
        }

    def warm_start(self, variables: Variables, fetch_batches: FetchBatches) -> Variables:
        """The mean of two batches."""
        mean = jnp.mean(jnp.concatenate([flat(dict(batch)) for batch in fetch_batches(2)]), axis=0, keepdims=True)
        return {**variables, "params": {**variables["params"], "mean": {"bias": mean}}}

    def terms(self, variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        """The reconstruction and the size of the code."""
        params, usage, x = variables["params"], variables["usage"], flat(batch)
        codes = encode(variables, x)
        found = codes @ params["encode"].T + params["mean"]["bias"]
        losses = {"reconstruction": jnp.mean((found - x) ** 2, axis=1), "size": jnp.mean(codes**2, axis=1)}
        after = {
            "count": usage["count"] + len(x),
            "mean": 0.9 * usage["mean"] + 0.1 * jax.lax.stop_gradient(codes).mean(axis=0),
        }
        return Terms(losses, {"largest": jnp.abs(codes).max()}, {"usage": after})

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """The losses."""
        return {"loss": self.loss_task}


def encode(variables: Variables, x: Array) -> Array:
    """Codes [B, SIZE] of vectors."""
    params = variables["params"]
    return (x - params["mean"]["bias"]) @ params["encode"]


class Denoiser(System):
    """Predicts codes from noisy codes, linearly; samples are decoded."""

    stages = ("encoder",)

    def __init__(self, context: Context):
        super().__init__(context)
        assert self.frozen["encoder"].config.model.nf == 8  # the config of the earlier stage
        self.objective = self.terms

    def init(self, key: Array) -> Variables:
        """A number for each entry of a code."""
        return {"params": {"scale": jnp.zeros((1, SIZE))}}

    def terms(self, variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        """The squared error of the code."""
        x0 = encode(variables["frozen"]["encoder"], flat(batch))
        x = x0 + draw_normal(fold_in(keys, ExampleKey.NOISE), x0.shape)
        return Terms({"error": jnp.sum((variables["params"]["scale"] * x - x0) ** 2, axis=1)})

    @functools.cached_property
    def generate(self) -> Generate:
        """Decoded Gaussian codes."""

        @jax.jit
        def sample(variables: Variables, keys: Array, labels: Any) -> dict[str, Array]:
            codes = variables["params"]["scale"] * draw_normal(keys, (len(keys), SIZE))
            encoder = variables["frozen"]["encoder"]["params"]
            x = 255 * (codes @ encoder["encode"].T + encoder["mean"]["bias"])
            samples = jnp.clip(x, 0, 255).astype(jnp.uint8).reshape(len(keys), *self.spec.shape)
            return {"samples": samples, "num_evals": jnp.int32(1)}

        return sample

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Loss and samples."""
        return {"loss": self.loss_task, "samples": self.samples_task}


def config_of(system: type[System], **training: Any) -> Any:
    """Six steps of one of the two systems on random images, saved after each three."""
    config = tiny()
    config.system = f"{__name__}:{system.__name__}"
    config.training.update(n_iters=6, log_freq=3, snapshot_freq=3, snapshot_freq_for_preemption=3, eval_freq=3)
    config.training.update(batch_size=8, snapshot_sampling=False, **training)
    config.eval.update(num_samples=4, begin_ckpt=2, end_ckpt=2)
    config.optim.update(lr=0.05, warmup=0)
    return config
