"""Diffusion of categories, from a config: its predictions, objective, sampler, guidance and likelihood."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from ml_collections import ConfigDict

from builders import guidance, network
from builders.condition import make_condition
from builders.earlier import LoadNetwork
from builders.network import make_network
from builders.process import make_corruption
from builders.score import GatherParams, identity
from core.arrays import Array
from core.keys import LikelihoodKey, fold_in
from core.tables import choose
from corruption import terms
from corruption.categorical import Absorbing, CategoricalNoise
from corruption.predictions import Categorical, PredictCategories
from corruption.schedules import uniform_noise
from corruption.terms import Term
from likelihood.bound import of_levels
from likelihood.elbo import elbo
from models.precision import converted
from sampling import grids
from sampling.ancestral import Ancestral
from sampling.categorical import Confidence, sharpened
from sampling.loop import FixedStep, Stepper
from sde import times
from sde.times import Quantile
from training.objectives.base import Batch, Objective, Params
from training.objectives.categorical import PredictCategoriesOf, categorical_bound, identity_quantile
from training.objectives.score_matching import independent, stratified

TIME_SCALE = 999.0  # of the share of lost sites, as a time label
# (predict, keys [B], levels [B, ...]) -> results by name
BitsPerDim = Callable[[PredictCategories, Array, Array], dict[str, Array]]


def make_predict_of(
    config: ConfigDict, dtype: str | None = None, gather_params: GatherParams = identity
) -> PredictCategoriesOf:
    """`(params, batch, dropout key or None) -> PredictCategories`; see `builders.score.make_predict_of`.

    The network receives 999 times the share of sites that have lost their data, as far as z tells, otherwise noise(t);
    so it depends neither on the schedule nor, for masks, on how many sites are known from elsewhere.
    """
    module, process, condition = make_network(config, dtype), make_corruption(config), make_condition(config)

    def of(params: Params, batch: Batch, dropout_key: Array | None = None) -> PredictCategories:
        train = dropout_key is not None
        params = gather_params(converted(params, network.computes_in(module)))
        rngs = {} if dropout_key is None else {"dropout": dropout_key}

        def predict(z: Array, t: Array) -> Categorical:
            time, cond = TIME_SCALE * process.lost(z, t), condition(z, batch, dropout_key)
            with network.products(module):
                logits: Any = module.apply({"params": params}, z, time, cond, train=train, rngs=rngs)
            return process.posterior(logits, z, t)

        return predict

    return of


def make_objective(config: ConfigDict, gather_params: GatherParams = identity) -> Objective:
    """The bound on the likelihood, in continuous time or on a grid of `model.num_scales` steps."""
    draw = stratified if config.training.stratified else independent
    return categorical_bound(
        make_predict_of(config, gather_params=gather_params),
        _term(config, _quantile(config)),
        lambda keys, batch: to_model(batch["x"]),
        draw(identity_quantile),
        reduce_mean=config.training.reduce_mean,
    )


def to_model(levels: Array) -> Array:
    """Levels as categories."""
    return jnp.asarray(levels).astype(jnp.int32)


def to_data(config: ConfigDict, dtype: str) -> Callable[[Array], Array]:
    """From states to levels; a mask, which only unfinished samples have, becomes the middle level."""
    num = config.model.num_categories
    return lambda z: jnp.where(z < num, z, num // 2).astype(dtype)


def make_sampler(config: ConfigDict) -> FixedStep:
    """The sampler that `config.sampling` describes.

    Errors: ValueError for settings that categories do not have, or that cannot be combined.
    """
    sampling, process = config.sampling, make_corruption(config)
    choose("sampling.grid", sampling.grid, {"uniform": None})
    num_steps = sampling.num_steps or config.model.num_scales
    make = choose("sampling.method", sampling.method, METHODS)
    if not isinstance(process, Absorbing) and (sampling.remasking or sampling.method == "confidence"):
        raise ValueError(
            f"config.sampling.method = {sampling.method!r} with remasking = {sampling.remasking} is for masks, but "
            f"config.model.corruption = {config.model.corruption!r} has none; use method 'ancestral' with remasking 0."
        )
    stepper = make(process, sampling.remasking)
    return FixedStep(process, stepper, grids.uniform(num_steps, 0.0), denoise=False)


def guide(config: ConfigDict, sharding: Sharding, load_network: LoadNetwork) -> guidance.Guide:
    """The predictions for the sampler: guided, and sharpened by temperature and top-p.

    Guidance is linear in the logarithms of the probabilities. Errors: ValueError for guidance that needs noise levels.
    """
    sampling = config.sampling
    choose("sampling.guidance", sampling.guidance, dict.fromkeys(("none", "classifier_free")))
    if sampling.guidance_min_sigma or sampling.guidance_max_sigma is not None:
        raise ValueError(
            "config.sampling.guidance_min_sigma and guidance_max_sigma are noise levels, which config.system = "
            "'categorical' does not have; leave them at 0.0 and unset."
        )
    plain = guidance.guide(config, sharding, load_network, make_predict_of)
    if sampling.guidance == "none" and (sampling.temperature, sampling.top_p) == (1.0, 1.0):
        return plain

    def predict_of(params: Params, other: Params, asked: guidance.Asked) -> PredictCategories:
        return sharpened(plain.predict_of(params, other, asked), sampling.temperature, sampling.top_p)

    return dataclasses.replace(plain, predict_of=predict_of)


def bits_per_dim(config: ConfigDict) -> BitsPerDim:
    """`(predict, keys [B], levels [B, ...]) -> {"bits_per_dim" [B], "logp_nats" [B], "num_evals"}`: upper bounds.

    In bits of the levels themselves: nothing is dequantized. With several `eval.num_probes`, the terms of an example,
    also "probe_standard_error" [B]. Errors: ValueError for settings of densities.
    """
    settings = config.eval
    choose("eval.bpd_method", settings.bpd_method, {"bound": None})
    if settings.dequantization != "uniform" or settings.num_dequantizations > 1:
        raise ValueError(
            f"config.eval.dequantization = {settings.dequantization!r} with num_dequantizations = "
            f"{settings.num_dequantizations}, but categories are not dequantized; use 'uniform' and 1."
        )
    process, num = make_corruption(config), settings.num_probes
    term = _term(config, uniform_noise(process.schedule))

    def measure(predict: PredictCategories, keys: Array, levels: Array) -> dict[str, Array]:
        found = elbo(predict, process, term, to_model(levels), fold_in(keys, LikelihoodKey.PROBES), num_times=num)
        return of_levels(found, levels.shape, num)

    return measure


def _term(config: ConfigDict, quantile: Quantile) -> Term:
    """A term of the bound: at the times of `quantile`, or on the grid."""
    process = make_corruption(config)
    if config.training.continuous:
        return terms.continuous(process, quantile)
    return terms.discrete(process, np.linspace(0, 1, config.model.num_scales + 1))


def _quantile(config: ConfigDict) -> Quantile:
    """The distribution of the times of training."""
    training = config.training
    quantiles = {
        "uniform": lambda: times.uniform(training.eps),
        "importance": lambda: uniform_noise(make_corruption(config).schedule),
    }
    return choose("training.time_sampling", training.time_sampling, quantiles)()


def _confidence(process: CategoricalNoise, remasking: float) -> Stepper:
    assert isinstance(process, Absorbing)  # others are refused above
    return Confidence(process, remasking > 0)


def _ancestral(process: CategoricalNoise, remasking: float) -> Stepper:
    return Ancestral(dataclasses.replace(process, remasking=remasking) if isinstance(process, Absorbing) else process)


METHODS: dict[str, Callable[[CategoricalNoise, float], Stepper]] = {"ancestral": _ancestral, "confidence": _confidence}
