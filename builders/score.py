"""The predictions of a config: its network, the condition, and the parameterization."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from builders import network
from builders.condition import make_condition
from builders.learned import of_network
from builders.network import make_network
from builders.process import make_sde, network_time, parameterization_name
from core.arrays import Array
from core.tables import choose
from corruption.predictions import Predict
from models import parameterizations
from models.precision import converted
from sde.base import SDE
from training.objectives.base import Batch, Params
from training.objectives.classification import ClassProbability
from training.objectives.score_matching import PredictOf

GatherParams = Callable[[Params], Params]


def identity(params: Params) -> Params:
    """Parameters that are replicated need not be gathered."""
    return params


def working_params(config: ConfigDict, params: Params) -> Params:
    """Those of the network in the type that it computes in, see `models.precision.converted`; others unchanged."""
    if not isinstance(params, dict):
        return params
    return {**params, **converted(of_network(params), network.DTYPES[config.model.dtype])}


def make_predict_of(config: ConfigDict, dtype: str | None = None, gather_params: GatherParams = identity) -> PredictOf:
    """`(params, batch, dropout key or None) -> Predict`; without a key there is no dropout.

    The network computes in `dtype`, by default `model.dtype`. Its parameters are converted to that type and gathered
    once per `Predict`. For its conditions see `builders.condition`. With `model.second_time` the prediction takes
    a second time, too: see `make_predict_between`.
    """
    module, process, condition = make_network(config, dtype), make_sde(config), make_condition(config)
    time = network_time(config)
    make = choose("model.parameterization", parameterization_name(config), parameterizations.PARAMETERIZATIONS)
    parameterization = make(config.model.sigma_data)

    def of(params: Params, batch: Batch, dropout_key: Array | None = None) -> Predict:
        train = dropout_key is not None
        params = gather_params(converted(of_network(params), network.computes_in(module)))
        rngs = {} if dropout_key is None else {"dropout": dropout_key}

        def apply(x: Array, time: Array, interval: Array | None = None) -> Any:
            cond = condition(x, batch, dropout_key)
            cond = cond if interval is None else {**(cond or {}), "interval": interval}
            with network.products(module):
                return module.apply({"params": params}, x, time, cond, train=train, rngs=rngs)

        if config.model.second_time:
            return parameterizations.make_predict_between(apply, process, time, parameterization)
        return parameterizations.make_predict(apply, process, time, parameterization)

    return of


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
            with network.products(module):
                logits: Any = module.apply({"params": params}, x, sigma, train=dropout_key is not None, rngs=rngs)
            return jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]

        return log_prob

    return of
