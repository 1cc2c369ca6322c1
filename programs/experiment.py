"""An experiment: every object that the programs need, built from the config before anything is compiled."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import data, features, guidance, likelihood, network
from builders.data import to_data
from builders.devices import make_devices
from builders.objective import make_objective
from builders.optimizer import make_optimizer
from builders.process import make_sde
from builders.sampler import make_sampler
from builders.score import make_score_of
from configs import default
from core.arrays import Array
from core.keys import RunKey, example_keys, fold_in, keys_at
from core.tables import choose
from data.pipeline import eval_batch
from data.stock import Source
from evaluation.features.base import Extractor
from evaluation.metrics.table import METRICS
from evaluation.rounds import Task
from evaluation.tasks.per_example import loss_task, per_example_task, samples_task
from programs import restore_run
from reports.sheets import sample_grid, to_uint8
from runtime.memory import MemoryBoundedSampler, free_bytes
from training.objectives.score_matching import Batch
from training.state import TrainState


class Experiment:
    """What every program needs, built from the config before anything is compiled."""

    def __init__(self, config: ConfigDict, workdir: str, devices: Sequence[jax.Device] | None = None):
        default.validate(config)
        data.resolve(config)
        self.config, self.workdir = config, pathlib.Path(workdir)
        self.devices = make_devices(config, devices)
        self.sde = make_sde(config)
        self.score_of, self.sampler = make_score_of(config, config.eval.bpd_dtype), make_sampler(config)
        self.is_classifier = network.is_classifier(config)
        self.tx, self.schedule = make_optimizer(config)
        for name in ("bpd_dataset", "reference_dataset"):
            choose(f"eval.{name}", config.eval[name], {"train": "train", "test": "test"})
        choose("eval.sample_format", config.eval.sample_format, dict.fromkeys(("npz", "png", "both")))
        for metric in config.eval.metrics:
            choose("eval.metrics", metric, METRICS)
        if config.eval.enable_metrics and not config.eval.enable_sampling:
            raise ValueError(
                "config.eval.enable_metrics = True compares samples, but config.eval.enable_sampling = False draws "
                "none; set both."
            )
        self.train, self.test = data.source(config, "train"), data.source(config, "test")
        if config.eval.sample_format != "npz" and not (self.test.num_levels and self.test.shape[2:] in ((1,), (3,))):
            raise ValueError(
                f"config.eval.sample_format = {config.eval.sample_format!r} writes pictures, but {config.data.dataset} "
                f"has examples of {self.test.dtype} {self.test.shape}; use 'npz'."
            )
        self.measure_bits_per_dim = likelihood.bits_per_dim(config, self.sde, self.test.num_levels)
        self.fit_dequantization = likelihood.fit_dequantization(config, self.sde, self.test.num_levels)
        self.per_example_loss = make_objective(config, self.test.num_levels, self.devices.gather_params)
        self.key = jax.random.key(config.seed)
        self.guide = guidance.guide(config, self.devices.replicated)
        if self.is_classifier:
            _refuse_samples(config)

    def state(self) -> TrainState:
        """The state at step 0, divided over the devices as `training.fsdp` says."""
        key = jax.random.fold_in(self.key, RunKey.INIT)
        shardings = self.devices.state_shardings(restore_run.abstract(self.config))
        return jax.jit(lambda: restore_run.initial(self.config, key), out_shardings=shardings)()

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state, without computing it."""
        shapes = restore_run.abstract(self.config)
        shardings = self.devices.state_shardings(shapes)
        return jax.tree.map(lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), shapes, shardings)

    def whole(self, params: Any) -> Any:
        """Parameters of the state, all of them on every device."""
        return self.devices.replicate_params(params)

    def split(self, batch: dict[str, np.ndarray], stacked: bool = False) -> Batch:
        """A batch from the host, divided over the devices."""
        return self.devices.shard_batch(batch, stacked)

    def generate(self) -> Callable[[Any, Array, Array | None], dict[str, Array]]:
        """`(params, keys [num], labels [num] or None) -> {"samples": levels [num, ...], "num_evals"}`, compiled.

        One program for all, or for as many at a time as fit into a device that tells how much memory it has.
        With `sampling.trajectory = K` also "states" [num, K, ...]: the way there.
        """
        trajectory = self.config.sampling.trajectory

        def fn(params: Any, guide_params: Any, keys: Array, labels: Array | None) -> dict[str, Array]:
            score_fn = self.guide.score_of(params, guide_params, labels)
            drawn = self.sampler(keys, score_fn, (len(keys), *self.test.shape), trajectory=trajectory)
            states = {} if drawn.states is None else {"states": self.quantize(jnp.moveaxis(drawn.states, 0, 1))}
            return {"samples": self.quantize(drawn.x), "num_evals": drawn.num_evals, **states}

        device = self.devices.mesh.devices.flat[0]
        alone = jax.process_count() == 1  # several processes would have to agree
        compiled = MemoryBoundedSampler(jax.jit(fn), self.devices.count, lambda: free_bytes(device) if alone else 0)
        return lambda params, keys, labels: compiled(params, self.guide.params, keys, labels)

    def quantize(self, x: Array) -> Array:
        """The grey levels, or floats, of values as the network sees them."""
        return to_data(self.config, self.test.num_levels)(x)

    def labels(self, start: int, num: int) -> Array | None:
        """The classes of samples start ... start + num - 1, each in turn; None where no class is known."""
        if not self.guide.num_labels:
            return None
        return jnp.arange(start, start + num) % self.guide.num_labels

    @functools.cached_property
    def extractor(self) -> Extractor:
        """The features by which samples are compared with data. Errors: ValueError for what is not there."""
        return features.extractor(self.config, self.test.num_levels)

    @functools.cached_property
    def evaluation_loss(self) -> Callable[[Any, Array, Batch], Array]:
        """`(params, keys [B], batch) -> [B]`: the training loss without dropout, compiled."""
        return jax.jit(lambda params, keys, batch: self.per_example_loss(params, keys, batch, None))

    @functools.cached_property
    def bits_per_dim(self) -> Callable[[Any, Array, Batch, Any], dict[str, Array]]:
        """`(params, keys [B], batch, learned) -> {"bits_per_dim" [B], "logp_nats" [B], "num_evals"}`, compiled.

        "nats_per_dim" instead for values without levels.

        `learned`: parameters of the dequantisation, or None. With several probes also "probe_standard_error" [B], in
        bits/dim; see `likelihood.bits_per_dim`.
        """
        measure = self.measure_bits_per_dim
        return jax.jit(
            lambda params, keys, batch, learned: measure(self.score_of(params, batch, None), keys, batch["x"], learned)
        )

    def learned_dequantization(self, params: Any) -> Any:
        """Parameters of the dequantisation that suits a model best, or None; learned on training images, each time."""

        def batches(step: int) -> Array:
            draw = np.random.default_rng([self.config.seed, step])
            return jnp.asarray(
                self.train.fetch(draw.integers(0, len(self.train), self.config.training.batch_size))["x"]
            )

        return self.fit_dequantization(
            lambda weights: self.score_of(weights, {}, None), params, fold_in(self.key, RunKey.DEQUANTIZE), batches
        )

    def sample_keys(self, checkpoint: int, start: int, num: int) -> Array:
        """The keys of samples start ... start + num - 1 of a checkpoint, divided over the devices."""
        key = fold_in(fold_in(self.key, RunKey.SAMPLE), checkpoint)
        return self.spread(example_keys(key, num, start))

    def spread(self, rows: Any) -> Any:
        """Arrays [N, ...] that every process has, a row an example, divided over the devices where N is a multiple."""
        return self.devices.shard_rows(rows)

    def shades(self, images: np.ndarray) -> np.ndarray:
        """Images [N, H, W, C] in 8 bits."""
        return to_uint8(images, self.test.num_levels)

    def picture(self, samples: np.ndarray, columns: int | None = None) -> np.ndarray:
        """Samples [N, ...] as one sheet [H, W, 1 or 3] of 8 bits, with as many columns as asked or about a square."""
        return sample_grid(samples, self.test.num_levels, columns)

    def frames(self, states: np.ndarray) -> list[np.ndarray]:
        """Samples [N, K, ...] of K states as K sheets."""
        return [self.picture(states[:, k]) for k in range(states.shape[1])]


def _refuse_samples(config: ConfigDict) -> None:
    """ValueError where a program would draw samples of a classifier, or measure its likelihood."""
    for key in ("training.snapshot_sampling", "eval.enable_bpd", "eval.enable_sampling"):
        section, name = key.split(".")
        if config[section][name]:
            raise ValueError(
                f"config.{key} = True, but the network {config.model.name!r} is a classifier, which has no samples and "
                "no likelihood; set it to False."
            )


def _batches(run: Experiment, source: Source) -> tuple[int, int, Callable[[int], dict]]:
    """Number of examples, size of a batch, and the batch of a round."""
    size = run.config.eval.batch_size
    return source.num_examples, size, lambda turn: eval_batch(source, turn, size)


def loss_of_checkpoint(run: Experiment, number: int, params: Any) -> Task:
    """The training loss of each test image, at a time and noise of its own."""
    compiled, key = run.evaluation_loss, fold_in(run.key, RunKey.LOSS)

    def losses(batch: dict[str, Any]) -> Array:
        return compiled(params, keys_at(key, batch["index"]), run.split({k: batch[k] for k in ("x", "label")}))

    return loss_task(*_batches(run, run.test), losses)


def bits_per_dim_of_checkpoint(run: Experiment, number: int, params: Any) -> Task:
    """Bits (or nats) per dimension of each example, exactly once (times `eval.bpd_repeats`)."""
    compiled, key = run.bits_per_dim, fold_in(run.key, RunKey.LIKELIHOOD)
    source = run.train if run.config.eval.bpd_dataset == "train" else run.test
    learned = functools.cache(lambda: run.learned_dequantization(params))  # not where all rounds are done

    def evaluate(batch: dict[str, Any]) -> dict[str, Array]:
        keys = keys_at(fold_in(key, batch["repeat"]), batch["index"])
        return compiled(params, keys, run.split({k: batch[k] for k in ("x", "label")}), learned())

    name, repeats = likelihood.quantity(source.num_levels), run.config.eval.bpd_repeats
    return per_example_task(name, *_batches(run, source), evaluate, quantity=name, repeats=repeats)


def samples_of_checkpoint(run: Experiment, number: int, params: Any) -> Task:
    """Samples 0 ... eval.num_samples - 1 of a checkpoint."""
    size = run.devices.round_up(min(run.config.eval.batch_size, run.config.eval.num_samples))
    compiled = run.generate()
    return samples_task(
        run.config.eval.num_samples,
        size,
        lambda start, count: jax.device_get(
            compiled(params, run.sample_keys(number, start, count), run.labels(start, count))
        ),
    )


TASKS: dict[str, Callable[[Experiment, int, Any], Task]] = {
    "loss": loss_of_checkpoint,
    "bits_per_dim": bits_per_dim_of_checkpoint,
    "samples": samples_of_checkpoint,
}
