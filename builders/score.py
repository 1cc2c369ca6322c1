"""The score function of a config: its network, what the network is conditioned on, and its parameterization."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import network
from builders.process import make_sde, network_time, sde_family
from builders.shape import data_shape
from core.arrays import Array
from core.keys import DropoutKey, fold_in
from core.tables import choose
from models import parameterizations
from models.precision import converted
from sde.base import SDE, ScoreFn
from training.objectives.classification import ClassProbability
from training.objectives.score_matching import Batch, Params, ScoreOf

GatherParams = Callable[[Params], Params]
Condition = Callable[[Array, Batch, Array | None], Any]  # (x [B, ...], batch, dropout key or None) -> cond


def identity(params: Params) -> Params:
    """Parameters that are replicated need not be gathered."""
    return params


def make_network(config: ConfigDict, dtype: str | None = None) -> nn.Module:
    """The network `(x, time, cond=None, train=False) -> output`; it computes in `dtype`, by default `model.dtype`."""
    return network.select(config, make_sde(config), dtype)


def example_inputs(config: ConfigDict) -> tuple[np.ndarray, np.ndarray, Any]:
    """Arguments of the network, for its initialization: x [1, ...], time [1], cond."""
    cond = {"labels": np.zeros((1,), np.int32)} if config.model.num_labels else None
    return np.zeros((1, *data_shape(config)), np.float32), np.ones((1,), np.float32), cond


def make_score_of(config: ConfigDict, dtype: str | None = None, gather_params: GatherParams = identity) -> ScoreOf:
    """`(params, batch, dropout key or None) -> score function`; without a key there is no dropout.

    The network computes in `dtype`, by default `model.dtype`. Its parameters are converted to that type and gathered
    once per score function. For its conditions see `make_condition`.
    """
    module, process, condition = make_network(config, dtype), make_sde(config), make_condition(config)
    time = network_time(config)
    name = config.model.parameterization or sde_family(config).parameterization
    make = choose("model.parameterization", name, parameterizations.PARAMETERIZATIONS)
    parameterization = make(config.model.sigma_data)

    def of(params: Params, batch: Batch, dropout_key: Array | None = None) -> ScoreFn:
        train = dropout_key is not None
        params = gather_params(converted(params, network.computes_in(module)))
        rngs = {} if dropout_key is None else {"dropout": dropout_key}

        def apply(x: Array, time: Array, cond: Any = None) -> Any:
            return module.apply({"params": params}, x, time, condition(x, batch, dropout_key), train=train, rngs=rngs)

        return parameterizations.make_score_fn(apply, process, time, parameterization)

    return of


def make_condition(config: ConfigDict) -> Condition:
    """`(x [B, ...], batch, dropout key or None) -> cond`: what a network is conditioned on.

    Class labels are those of `batch["label"]` [B]. "No class" is label number `model.num_labels`: the label of a batch
    without labels, and, given a dropout key, of each example with probability `model.label_dropout`. A network that is
    conditioned on augmentations gets `batch["augment"]` [B, model.augment_dim] if the batch has it.
    """
    no_class, dropout, augmented = config.model.num_labels, config.model.label_dropout, config.model.augment_dim > 0

    def augmentation(batch: Batch) -> dict[str, Array]:
        return {"augment": batch["augment"]} if augmented and "augment" in batch else {}

    if not no_class:
        return lambda x, batch, key: augmentation(batch) or None

    def condition(x: Array, batch: Batch, key: Array | None) -> Any:
        labels = batch.get("label")
        if labels is None:
            labels = jnp.full(x.shape[:1], no_class)
        elif key is not None:
            dropped = jax.random.bernoulli(fold_in(key, DropoutKey.LABELS), dropout, labels.shape)
            labels = jnp.where(dropped, no_class, labels)
        return {"labels": labels, **augmentation(batch)}

    return condition


def log_class_probability(config: ConfigDict, process: SDE, gather_params: GatherParams = identity) -> ClassProbability:
    """`(params, labels [B], dropout key or None) -> ((x [B, ...], t [B]) -> ln p(label | x, t) [B])`, of a classifier.

    x is a sample of the SDE `process`, which need not be that of `config`: the network standardizes its input and
    receives the noise level relative to the data, std(t) / mean_coeff(t).
    """
    module = make_network(config)

    def of(params: Params, labels: Array, dropout_key: Array | None = None) -> Callable[[Array, Array], Array]:
        params = gather_params(converted(params, network.computes_in(module)))
        rngs = {} if dropout_key is None else {"dropout": dropout_key}

        def log_prob(x: Array, t: Array) -> Array:
            sigma = process.std(t) / process.mean_coeff(t)
            logits: Any = module.apply({"params": params}, x, sigma, train=dropout_key is not None, rngs=rngs)
            return jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]

        return log_prob

    return of
