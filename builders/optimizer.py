"""The optimizer of a config, its learning rate, and the averages of the parameters."""

import functools

import optax
from ml_collections import ConfigDict

from core.tables import choose
from training.ema import EMA, Average, PowerEMA
from training.optim import OPTIMIZERS, learning_rate, trained_mask
from training.step import Mask


def make_optimizer(config: ConfigDict) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer, and its learning rate as a function of the step."""
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
    trained = make_mask(config)
    return (tx if trained is None else optax.masked(tx, trained)), schedule


def make_mask(config: ConfigDict) -> Mask | None:
    """Which parameters `optim.frozen` leaves to be trained; None for all."""
    patterns = tuple(config.optim.frozen)
    return functools.partial(trained_mask, patterns) if patterns else None


def make_ema(config: ConfigDict) -> EMA:
    """The average of the parameters with which models are sampled and evaluated."""
    return EMA(config.model.ema_rate, config.model.ema_warmup)


def make_averages(config: ConfigDict) -> dict[str, Average]:
    """Further averages that a run tracks, by their names in its state; none by default."""
    rates = {f"rate_{k}": EMA(rate, config.model.ema_warmup) for k, rate in enumerate(config.model.ema_rates)}
    powers = {f"power_{k}": PowerEMA(sigma_rel) for k, sigma_rel in enumerate(config.model.ema_sigma_rels)}
    return {**rates, **powers}
