"""From a config to a network and the score function that it parameterizes."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import network
from builders.process import NOISE_LEVEL_AS_TIME, make_sde
from core.arrays import Array
from core.keys import DropoutKey, fold_in
from core.tables import choose
from data.shapes import data_shape
from models import parameterizations
from models.precision import converted
from sde.base import SDE, ScoreFn
from training.objectives.classification import ClassProbability
from training.objectives.score_matching import Batch, Params, ScoreOf

Collect = Callable[[Params], Params]


def as_they_are(params: Params) -> Params:
    """Parameters that every device has."""
    return params


def make_network(config: ConfigDict, dtype: str | None = None) -> nn.Module:
    """The network `(x, time, cond=None, train=False) -> output`; it computes in `dtype`, by default `model.dtype`."""
    return network.select(config, make_sde(config), dtype)


def example_inputs(config: ConfigDict) -> tuple[np.ndarray, np.ndarray, Any]:
    """An example of what the network takes: x [1, ...], time [1], cond."""
    cond = {"labels": np.zeros((1,), np.int32)} if config.model.num_labels else None
    return np.zeros((1, *data_shape(config)), np.float32), np.ones((1,), np.float32), cond


def make_score_of(config: ConfigDict, dtype: str | None = None, collect: Collect = as_they_are) -> ScoreOf:
    """`(params, batch, dropout key or None) -> score function`; dropout is off without a key.

    The network computes in `dtype`, by default `model.dtype`; its parameters are converted and collected once for each
    score function. A network that is told classes gets those of `batch["label"]` [B], or none where the batch has no
    labels; with a dropout key it does not get to know `model.label_dropout` of them. One that is told augmentations
    gets `batch["augment"]` [B, model.augment_dim], or that there was none.
    """
    module, process = make_network(config, dtype), make_sde(config)
    time: parameterizations.TimeFn
    if config.training.sde in NOISE_LEVEL_AS_TIME:
        time, published = (
            (parameterizations.noise_level if config.training.continuous else parameterizations.descending_level),
            "score",
        )
    else:
        # The published networks of VP and sub-VP are told 999 t in continuous time, (N - 1) t in discrete time.
        scale = 999 if config.training.continuous else config.model.num_scales - 1
        time, published = parameterizations.scaled_time(scale), "noise"
    name = config.model.parameterization or published
    make = choose("model.parameterization", name, parameterizations.PARAMETERIZATIONS)
    parameterization = make(config.model.sigma_data)
    condition = _condition(config)

    def of(params: Params, batch: Batch, dropout_key: Array | None = None) -> ScoreFn:
        train = dropout_key is not None
        params = collect(converted(params, network.computes_in(module)))
        rngs = {} if dropout_key is None else {"dropout": dropout_key}

        def apply(x: Array, time: Array, cond: Any = None) -> Any:
            return module.apply({"params": params}, x, time, condition(x, batch, dropout_key), train=train, rngs=rngs)

        return parameterizations.make_score_fn(apply, process, time, parameterization)

    return of


def _condition(config: ConfigDict) -> Callable[[Array, Batch, Array | None], Any]:
    """`(x [B, ...], batch, dropout key or None) -> cond`: classes, number `num_labels` for none, and augmentations."""
    no_class, dropout, told = config.model.num_labels, config.model.label_dropout, config.model.augment_dim > 0

    def augmentation(batch: Batch) -> dict[str, Array]:
        return {"augment": batch["augment"]} if told and "augment" in batch else {}

    if not no_class:
        return lambda x, batch, key: augmentation(batch) or None

    def condition(x: Array, batch: Batch, key: Array | None) -> Any:
        labels = batch.get("label")
        if labels is None:
            labels = jnp.full(x.shape[:1], no_class)
        elif key is not None:
            withheld = jax.random.bernoulli(fold_in(key, DropoutKey.LABELS), dropout, labels.shape)
            labels = jnp.where(withheld, no_class, labels)
        return {"labels": labels, **augmentation(batch)}

    return condition


def log_class_probability(config: ConfigDict, process: SDE, collect: Collect = as_they_are) -> ClassProbability:
    """`(params, labels [B], dropout key or None) -> ((x [B, ...], t [B]) -> ln p(label | x, t) [B])`, of a classifier.

    x lives under the SDE `process`, which need not be that of `config`: the network standardises its input and is told
    the noise level relative to the data, std(t) / mean_coeff(t).
    """
    module = make_network(config)

    def of(params: Params, labels: Array, dropout_key: Array | None = None) -> Callable[[Array, Array], Array]:
        params = collect(converted(params, network.computes_in(module)))
        rngs = {} if dropout_key is None else {"dropout": dropout_key}

        def log_prob(x: Array, t: Array) -> Array:
            sigma = process.std(t) / process.mean_coeff(t)
            logits: Any = module.apply({"params": params}, x, sigma, train=dropout_key is not None, rngs=rngs)
            return jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]

        return log_prob

    return of
