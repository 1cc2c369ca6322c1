"""The composition root: with the other `build_*` modules all that reads config values and turns names into objects."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

import build_data
import build_network
import build_sampler
from build_shape import data_shape
from configs.default import choose
from likelihood import dequantize
from models import score
from models.precision import converted
from sampling.base import Sampler
from sde import times
from sde.base import SDE, Array, ScoreFn, fold
from sde.cosine import Cosine
from sde.discrete import Tabulated, ddpm_chain, smld_chain
from sde.edm import EDM
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from training.classification import ClassProbability, make_cross_entropy
from training.ema import EMA, Average, PowerEMA
from training.losses import (
    Batch,
    DrawTimes,
    Params,
    PerExampleLoss,
    Prepare,
    ScoreOf,
    Weighting,
    edm,
    independent,
    likelihood,
    make_per_example_loss,
    stratified,
    variance,
)
from training.optim import OPTIMIZERS, learning_rate

Collect = Callable[[Params], Params]

_LABELS = 0xC1A55  # what a dropout key is for beside dropout: which labels are withheld


def as_they_are(params: Params) -> Params:
    """Parameters that every device has."""
    return params


def sde(config: ConfigDict) -> SDE:
    """The SDE of the experiment; with `training.continuous = False` the chain of `model.num_scales` levels."""
    model = config.model
    table = SDES if config.training.continuous else CHAINS
    if not config.training.continuous and config.training.sde == "subvpsde":
        raise ValueError("config.training.continuous = False has no meaning for subvpsde; use vpsde or vesde, or True.")
    return choose("training.sde", config.training.sde, table)(model)


def network(config: ConfigDict, dtype: str | None = None) -> nn.Module:
    """The network `(x, time, cond=None, train=False) -> output`; it computes in `dtype`, by default `model.dtype`."""
    return build_network.network(config, sde(config), dtype)


def blank(config: ConfigDict) -> tuple[np.ndarray, np.ndarray, Any]:
    """An example of what the network takes: x [1, ...], time [1], cond."""
    cond = {"labels": np.zeros((1,), np.int32)} if config.model.num_labels else None
    return np.zeros((1, *data_shape(config)), np.float32), np.ones((1,), np.float32), cond


def score_of(config: ConfigDict, dtype: str | None = None, collect: Collect = as_they_are) -> ScoreOf:
    """`(params, batch, dropout key or None) -> score function`; dropout is off without a key.

    The network computes in `dtype`, by default `model.dtype`; its parameters are converted and collected once for each
    score function. A network that is told classes gets those of `batch["label"]` [B], or none where the batch has no
    labels; with a dropout key it does not get to know `model.label_dropout` of them. One that is told augmentations
    gets `batch["augment"]` [B, model.augment_dim], or that there was none.
    """
    module, process = network(config, dtype), sde(config)
    time: score.TimeFn
    if config.training.sde in NOISE_LEVEL_AS_TIME:
        time, published = (score.noise_level if config.training.continuous else score.descending_level), "score"
    else:
        # The published networks of VP and sub-VP are told 999 t in continuous time, (N - 1) t in discrete time.
        scale = 999 if config.training.continuous else config.model.num_scales - 1
        time, published = score.scaled_time(scale), "noise"
    name = config.model.parameterization or published
    make = choose("model.parameterization", name, score.PARAMETERIZATIONS)
    parameterization = make(config.model.sigma_data)
    condition = _condition(config)

    def of(params: Params, batch: Batch, dropout_key: Array | None = None) -> ScoreFn:
        train = dropout_key is not None
        params = collect(converted(params, build_network.computes_in(module)))
        rngs = {} if dropout_key is None else {"dropout": dropout_key}

        def apply(x: Array, time: Array, cond: Any = None) -> Any:
            return module.apply({"params": params}, x, time, condition(x, batch, dropout_key), train=train, rngs=rngs)

        return score.make_score_fn(apply, process, time, parameterization)

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
            withheld = jax.random.bernoulli(fold(key, _LABELS), dropout, labels.shape)
            labels = jnp.where(withheld, no_class, labels)
        return {"labels": labels, **augmentation(batch)}

    return condition


def log_class_probability(config: ConfigDict, process: SDE, collect: Collect = as_they_are) -> ClassProbability:
    """`(params, labels [B], dropout key or None) -> ((x [B, ...], t [B]) -> ln p(label | x, t) [B])`, of a classifier.

    x lives under the SDE `process`, which need not be that of `config`: the network standardises its input and is told
    the noise level relative to the data, std(t) / mean_coeff(t).
    """
    module = network(config)

    def of(params: Params, labels: Array, dropout_key: Array | None = None) -> Callable[[Array, Array], Array]:
        params = collect(converted(params, build_network.computes_in(module)))
        rngs = {} if dropout_key is None else {"dropout": dropout_key}

        def log_prob(x: Array, t: Array) -> Array:
            sigma = process.std(t) / process.mean_coeff(t)
            logits: Any = module.apply({"params": params}, x, sigma, train=dropout_key is not None, rngs=rngs)
            return jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]

        return log_prob

    return of


def prepare(config: ConfigDict, num_levels: int) -> Prepare:
    """From a batch as loaded, grey levels or floats (`num_levels` 0), to the scaled data that are trained on."""
    centered, (offset, scale) = config.data.centered, build_data.affine(config, num_levels)
    if not num_levels:
        return lambda keys, batch: (batch["x"] - offset) / scale
    if config.data.uniform_dequantization:
        return lambda keys, batch: dequantize.uniform(keys, batch["x"], num_levels, centered=centered)
    return lambda keys, batch: dequantize.scale(batch["x"], num_levels, centered=centered)


def scaled(config: ConfigDict, num_levels: int) -> Callable[[Array], Array]:
    """From grey levels to data without noise: the middle of a level's cell, if it was trained on dequantised data.

    Floats, without levels, are shifted and scaled as `data.offset` and `data.scale` say.
    """
    data = config.data
    if not num_levels:
        offset, factor = build_data.affine(config, num_levels)
        return lambda x: (x - offset) / factor
    scale = dequantize.midpoint if data.uniform_dequantization else dequantize.scale
    return lambda levels: scale(levels, num_levels, centered=data.centered)


def unscaled(config: ConfigDict, num_levels: int) -> Callable[[Array], Array]:
    """From values as the network sees them to those of the data: grey levels, or floats; inverts `scaled`."""
    if not num_levels:
        offset, factor = build_data.affine(config, num_levels)
        return lambda x: x * factor + offset
    return lambda x: dequantize.quantize(x, num_levels, centered=config.data.centered)


def per_example_loss(config: ConfigDict, num_levels: int, collect: Collect = as_they_are) -> PerExampleLoss:
    """Denoising score matching on this config's SDE and network; the cross-entropy of a classifier.

    `collect`: what brings the parameters together where devices share them.
    """
    training, process = config.training, sde(config)
    if build_network.is_classifier(config):
        return make_cross_entropy(
            log_class_probability(config, process, collect),
            process,
            prepare(config, num_levels),
            _draw_times(config, process),
        )
    return make_per_example_loss(
        score_of(config, collect=collect),
        process,
        prepare(config, num_levels),
        _draw_times(config, process),
        weighting=_weighting(config),
        reduce_mean=training.reduce_mean,
        augment=build_data.augmentation(config),
    )


def _draw_times(config: ConfigDict, process: SDE) -> DrawTimes:
    training = config.training
    quantiles = {
        "uniform": lambda: times.uniform(training.eps),
        "log_snr": lambda: times.log_snr(process, training.eps),
        "log_normal": lambda: times.log_normal(process, training.eps, mean=training.p_mean, std=training.p_std),
    }
    quantile = choose("training.time_sampling", training.time_sampling, quantiles)
    draw = stratified if training.stratified else independent
    return draw(times.levels(process) if isinstance(process, Tabulated) else quantile())


def _weighting(config: ConfigDict) -> Weighting:
    name = config.training.weighting or ("likelihood" if config.training.likelihood_weighting else "variance")
    table = {"variance": variance, "likelihood": likelihood, "edm": edm(config.model.sigma_data)}
    return choose("training.weighting", name, table)


def optimizer(config: ConfigDict) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimiser and its learning rate as a function of the step."""
    optim = config.optim
    decay = choose("optim.schedule", optim.schedule, {"constant": None, "cosine": config.training.n_iters})
    schedule = learning_rate(optim.lr, warmup=optim.warmup, decay_steps=decay)
    make = choose("optim.optimizer", optim.optimizer, OPTIMIZERS)
    tx = make(
        schedule,
        beta1=optim.beta1,
        beta2=optim.beta2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        grad_clip=optim.grad_clip,
    )
    return tx, schedule


def ema(config: ConfigDict) -> EMA:
    """The average of the parameters."""
    return EMA(config.model.ema_rate, config.model.ema_warmup)


def averages(config: ConfigDict) -> dict[str, Average]:
    """The further averages that a run keeps, by their names in its state: none unless the config says so."""
    rates = {f"rate_{k}": EMA(rate, config.model.ema_warmup) for k, rate in enumerate(config.model.ema_rates)}
    powers = {f"power_{k}": PowerEMA(sigma_rel) for k, sigma_rel in enumerate(config.model.ema_sigma_rels)}
    return {**rates, **powers}


def sampler(config: ConfigDict) -> Sampler:
    """The sampler that `sampling` describes, for this config's SDE."""
    return build_sampler.sampler(config, sde(config))


SDES: dict[str, Callable[[ConfigDict], SDE]] = {
    "vpsde": lambda model: VP(model.beta_min, model.beta_max),
    "subvpsde": lambda model: SubVP(model.beta_min, model.beta_max),
    "vesde": lambda model: VE(model.sigma_min, model.sigma_max),
    "edm": lambda model: EDM(model.sigma_max),
    "cosine": lambda model: Cosine(model.log_snr_min, model.log_snr_max),
}
NOISE_LEVEL_AS_TIME = ("vesde", "edm")  # their networks are told sigma
CHAINS: dict[str, Callable[[ConfigDict], SDE]] = {
    "vpsde": lambda model: ddpm_chain(model.beta_min, model.beta_max, model.num_scales),
    "vesde": lambda model: smld_chain(model.sigma_min, model.sigma_max, model.num_scales),
}
