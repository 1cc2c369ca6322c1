"""The optimizer of a config, its learning rate, and the averages of the parameters."""

import functools
from collections.abc import Callable
from typing import Any

import optax
from ml_collections import ConfigDict

from core.tables import choose
from training import optim
from training.ema import EMA, Average, PowerEMA
from training.step import Mask

# What no weight decay changes: random features, which are not trained, and the ends and shape of a noise schedule.
FIXED = ("*MPFourier_*/frequency", "*MPFourier_*/phase", "*GaussianFourierProjection_*/W", "*noise_schedule/*")
SCHEDULES: dict[str, Callable[[ConfigDict], optim.Shape]] = {
    "constant": lambda config: optim.constant,
    "cosine": lambda config: optim.cosine(config.training.n_iters),
    "wsd": lambda config: optim.warmup_stable_decay(
        config.training.n_iters, config.optim.decay_steps or max(config.training.n_iters // 5, 1)
    ),
    "inverse_sqrt": lambda config: optim.inverse_sqrt(config.optim.decay_steps or max(config.optim.warmup, 1)),
}


def make_optimizer(config: ConfigDict) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer, and its learning rate as a function of the step.

    Errors: ValueError for an unknown name, and for a schedule-free optimizer without its average.
    """
    settings = config.optim
    shape = choose("optim.schedule", settings.schedule, SCHEDULES)(config)
    schedule = optim.learning_rate(settings.lr, warmup=settings.warmup, shape=shape)
    choose("optim.optimizer", settings.optimizer, optim.DIRECTIONS)
    if settings.optimizer in optim.SCHEDULE_FREE and not 0 < settings.beta1 < 1:
        raise ValueError(
            f"config.optim.beta1 = {settings.beta1} is the weight of the average of a schedule-free optimizer and must "
            "be between 0 and 1; use 0.9."
        )
    spared = tuple(settings.no_decay)
    tx = optim.optimizer(
        settings.optimizer,
        schedule,
        beta1=settings.beta1,
        beta2=settings.beta2,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fixed=FIXED,
        decayed=functools.partial(optim.trained_mask, spared, key="optim.no_decay") if spared else None,
        grad_clip=settings.grad_clip,
    )
    if kept := tuple(settings.normalized):
        if settings.optimizer in optim.SCHEDULE_FREE:
            raise ValueError(
                f"config.optim.optimizer = {settings.optimizer!r} trains parameters between two others, which "
                "config.optim.normalized would scale; use another optimizer, or optim.normalized = ()."
            )
        mask = functools.partial(optim.normalized_mask, kept)
        tx = optax.chain(tx, optax.masked(optim.keep_normalized(), mask))
    trained = make_mask(config)
    return (tx if trained is None else optax.masked(tx, trained)), schedule


def make_averaged(config: ConfigDict) -> Callable[[Any, Any], Any] | None:
    """`(state of the optimizer, params) -> params` to be evaluated and averaged; None if those are `params`."""
    if config.optim.optimizer not in optim.SCHEDULE_FREE:
        return None
    return functools.partial(optim.averaged, beta1=config.optim.beta1)


def make_mask(config: ConfigDict) -> Mask | None:
    """Which parameters `optim.frozen` leaves to be trained; None for all."""
    patterns = tuple(config.optim.frozen)
    return functools.partial(optim.trained_mask, patterns) if patterns else None


def make_ema(config: ConfigDict) -> EMA:
    """The average of the parameters with which models are sampled and evaluated."""
    return EMA(config.model.ema_rate, config.model.ema_warmup)


def make_averages(config: ConfigDict) -> dict[str, Average]:
    """Further averages that a run tracks, by their names in its state; none by default."""
    rates = {f"rate_{k}": EMA(rate, config.model.ema_warmup) for k, rate in enumerate(config.model.ema_rates)}
    powers = {f"power_{k}": PowerEMA(sigma_rel) for k, sigma_rel in enumerate(config.model.ema_sigma_rels)}
    return {**rates, **powers}
