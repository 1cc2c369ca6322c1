"""What a kind of model is to the programs that train, evaluate and sample it."""

import abc
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders.earlier import EarlierRun, LoadNetwork, OpenStages, without_stages
from builders.features import check_name as check_features
from builders.guidance import Asked
from builders.network import initial_variables
from builders.objective import loss_weights
from builders.splits import Splits
from core.arrays import Array
from core.keys import RunKey, example_keys, fold_in, keys_at
from core.tables import choose
from data.pipeline import eval_batch
from data.source import Source
from data.spec import DataSpec
from evaluation.metrics.table import METRICS, beyond_samples
from evaluation.rounds import Task
from evaluation.tasks.per_example import loss_task
from evaluation.tasks.samples import samples_task
from reports.sheets import sample_grid
from runtime.devices import Devices
from systems.density import Density
from systems.requests.base import RequestTask
from systems.requests.generate import UNCONDITIONAL
from training.objectives.base import Batch, Objective, Params, Variables, check_terms, weighted

# (number of the checkpoint, its averaged variables; None where no round is to be computed) -> task
Evaluation = Callable[[int, Any], Task]
FetchBatches = Callable[[int], Iterable[Mapping[str, np.ndarray]]]  # number -> batches
Generate = Callable[[Variables, Array, Asked], dict[str, Array]]


@dataclasses.dataclass(frozen=True)
class Context:
    """What a system is built from.

    `load_network` reads the checkpoint of another run, such as a guide's; `open_stages` those of earlier stages.
    `folder`: the workdir, for what is computed once and used again; None: nothing is kept.
    """

    config: ConfigDict
    spec: DataSpec
    splits: Splits
    devices: Devices
    key: Array
    load_network: LoadNetwork
    open_stages: OpenStages = without_stages
    folder: pathlib.Path | None = None


class System(abc.ABC):
    """A kind of model. Building one checks every setting it reads; data and other runs are read when first used.

    `objective` is what it is trained with, which every subclass sets; see `training.objectives.base`.
    `frozen`: the runs of its earlier stages, by name. Objective, evaluations and samplers find their variables in
    `variables["frozen"][name]`; they are neither trained nor part of the state, and the run keeps its own copy.
    """

    objective: Objective
    stages: tuple[str, ...] = ()  # names of earlier stages; `config.model.stages` gives the run of each

    def __init__(self, context: Context):
        config = context.config
        self.context, self.config, self.spec = context, config, context.spec
        self.devices, self.key = context.devices, context.key
        self.frozen: Mapping[str, EarlierRun] = context.open_stages(self.stages)

    def init(self, key: Array) -> Variables:
        """The variables at step 0: "params", and collections that the objective changes; here those of the network.

        A pure function, which is traced for their shapes.
        """
        return initial_variables(self.config, key)

    def working_params(self, params: Params) -> Params:
        """The parameters in the types that the objective converts them to before it uses them; here their own."""
        return params

    def warm_start(self, variables: Variables, fetch_batches: FetchBatches) -> Variables:
        """The variables at step 0 after a start from data, such as a codebook by k-means; here unchanged.

        Called once, before the first step of a new run, and not on resume. `fetch_batches(num)`: the whole batches,
        on the host, of the first `num` training steps. It must be deterministic.
        """
        return variables

    @property
    @abc.abstractmethod
    def evaluations(self) -> Mapping[str, Evaluation]:
        """What can be evaluated, by the name under which a report has it."""

    @property
    def enabled(self) -> tuple[str, ...]:
        """The evaluations that `eval.tasks` names; all, where it is empty."""
        return tuple(self.config.eval.tasks) or tuple(self.evaluations)

    def check(self) -> None:
        """Checks what is asked of evaluations. Errors: ValueError, one sentence, with the setting."""
        settings, spec = self.config.eval, self.spec
        for name in settings.tasks:
            choose("eval.tasks", name, self.evaluations)
        check_features(self.config)
        for metric in settings.metrics:
            choose("eval.metrics", metric, METRICS)
            if (missing := beyond_samples(metric)) is not None:
                raise ValueError(
                    f"config.eval.metrics has {metric}, which needs {missing}, while these metrics compare samples "
                    "with data; leave it out."
                )
        if settings.enable_metrics and "samples" not in self.enabled:
            raise ValueError(
                "config.eval.enable_metrics = True compares samples with data, but the evaluations are "
                f"{', '.join(self.enabled) or 'none'}; set config.eval.enable_sampling = True, or have 'samples' in "
                "config.eval.tasks."
            )
        if settings.sample_format != "npz" and not self.has_images:
            raise ValueError(
                f"config.eval.sample_format = {settings.sample_format!r} writes images, but "
                f"{self.config.data.dataset} has examples of {spec.dtype} {spec.shape}; use 'npz'."
            )

    @property
    def subject(self) -> tuple[str, ...]:
        """What the reports of a run are about, in a few words."""
        return self.config.data.dataset, self.config.system

    @property
    def generate(self) -> Generate | None:
        """`(variables, keys [num], what is asked for) -> {"samples" [num, ...], "num_evals"}`; None: no samples."""
        return None

    @property
    def density(self) -> Density | None:
        """Log-likelihoods, latent codes and restoration; None: the system has no density of this kind."""
        return None

    @property
    def num_labels(self) -> int:
        """The classes that samples can be asked for; 0 without."""
        return self.config.model.num_labels

    @property
    def sampler_in_words(self) -> str:
        """What `generate` samples by, with its number of steps; empty where there is nothing to say."""
        return ""

    def assess(self, samples: np.ndarray) -> Mapping[str, Any]:
        """Figures about samples [N, ...], in the data's units, that are shown with them; here none."""
        return {}

    @property
    def has_images(self) -> bool:
        """Whether samples can be written as image files: levels, gray or RGB."""
        return bool(self.spec.num_levels) and self.spec.shape[2:] in ((1,), (3,))

    def encode(self, variables: Variables, values: Array) -> Array:
        """Values of the data [N, ...] in the model's own units, without noise; here they are the same."""
        return values

    def decode(self, variables: Variables, x: Array) -> Array:
        """What is in the model's own units, as values of the data [N, ...]; the inverse of `encode`."""
        return x

    def open_guide(self) -> None:  # noqa: B027  most systems have no guide
        """Reads what `generate` needs beside its arguments, such as the checkpoint of a guide; nothing by default.

        Errors: ValueError, one sentence, where it is missing or does not fit.
        """

    def labels(self, start: int, num: int) -> Asked:
        """The class labels of samples start ... start + num - 1, or values of fields; None without conditions."""
        return None

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """What can be asked by `--mode=sample`, by the name of the task."""
        return {} if self.generate is None else {"unconditional": UNCONDITIONAL}

    def picture(self, samples: np.ndarray, columns: int | None = None) -> np.ndarray:
        """Samples [N, ...], in the data's units, as one uint8 image [H, W, 1 or 3]; `columns`: samples per row."""
        return sample_grid(samples, self.spec.num_levels, columns)

    def sample_keys(self, checkpoint: int, start: int, num: int) -> Array:
        """The keys of samples start ... start + num - 1 of a checkpoint, sharded over the devices."""
        key = fold_in(fold_in(self.key, RunKey.SAMPLE), checkpoint)
        return self.devices.shard_rows(example_keys(key, num, start))

    @functools.cached_property
    def evaluation_loss(self) -> Callable[[Variables, Array, Batch], dict[str, Array]]:
        """`(variables, keys [B], batch) -> {"loss" [B]}`: the training loss without dropout, compiled.

        Of several losses also each, unweighted, by its name. Weights and schedules are those of the last step.
        """
        weights = loss_weights(self.config)

        def losses(variables: Variables, keys: Array, batch: Batch) -> dict[str, Array]:
            step = jnp.int32(self.config.training.n_iters)
            terms = self.objective(variables, keys, batch, None, step)
            check_terms(terms, variables, len(keys))
            return {"loss": weighted(terms.losses, weights, step), **(terms.losses if len(terms.losses) > 1 else {})}

        return jax.jit(losses)

    def loss_names(self, variables: Variables) -> tuple[str, ...]:
        """The names of the losses, where there are several, found by tracing; `variables` may be abstract.

        Errors: ValueError for the weight of a loss that does not exist.
        """
        size = self.config.eval.batch_size
        keys = jax.eval_shape(lambda: example_keys(jax.random.key(0), size))
        return tuple(
            sorted(jax.eval_shape(self.evaluation_loss, variables, keys, self.spec.zeros(size)).keys() - {"loss"})
        )

    def loss_task(self, number: int, variables: Variables | None) -> Task:
        """The training loss of each test example, at a time and noise of its own."""
        key = fold_in(self.key, RunKey.LOSS)

        def losses(batch: dict[str, Any]) -> dict[str, Array]:
            assert variables is not None
            return self.evaluation_loss(variables, keys_at(key, batch["index"]), self.on_devices(batch))

        terms = () if variables is None else self.loss_names(variables)
        return loss_task(*self.batches(self.context.splits.test), losses, terms=terms)

    def samples_task(self, number: int, variables: Variables | None) -> Task:
        """Samples 0 ... eval.num_samples - 1 of a checkpoint, of a system that generates samples."""
        settings = self.config.eval
        size = self.devices.round_up(min(settings.batch_size, settings.num_samples))
        assert self.generate is not None
        generate = self.generate

        def sample(start: int, count: int) -> dict[str, np.ndarray]:
            assert variables is not None
            keys, labels = self.sample_keys(number, start, count), self.labels(start, count)
            return jax.device_get(generate(variables, keys, labels))

        return samples_task(settings.num_samples, size, sample)

    def batches(self, source: Source) -> tuple[int, int, Callable[[int], dict]]:
        """Number of examples, size of a batch, and the batch of a round."""
        size = self.config.eval.batch_size
        return source.num_examples, size, lambda turn: eval_batch(source, turn, size)

    def on_devices(self, batch: Mapping[str, np.ndarray]) -> Batch:
        """The fields of a batch, sharded over the devices."""
        return self.devices.shard_batch({name: batch[name] for name in self.spec.fields})
