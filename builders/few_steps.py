"""Objectives for samples in one or a few steps: average velocities of a network with a second time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from builders.condition import example_condition
from builders.network import example_inputs, make_network
from core.imports import is_import_path
from core.tables import choose
from training.objectives.average_velocity import (
    Rule,
    SampleInterval,
    between,
    consistency,
    dyadic,
    halved,
    mean_flow,
    shortcut,
    to_data,
)
from training.objectives.base import Weight, constant, ramp
from training.objectives.score_matching import SampleTimes

SCORE_MATCHING = "score_matching"
Entry = tuple[Callable[[ConfigDict], Rule], Callable[[ConfigDict, SampleTimes, SampleTimes], SampleInterval]]


def check_velocity(config: ConfigDict, method: str) -> None:
    """Errors: ValueError for a sampler that needs velocities which an objective has not trained."""
    if _is_only_to_data(config) and method != "consistency":
        raise ValueError(
            f"config.sampling.method = {method!r}, but config.training.objective = {config.training.objective!r} with "
            "flow_share = 0 trains steps to the data alone; use 'consistency', or train with a flow_share above 0."
        )


def check_density(config: ConfigDict) -> None:
    """Errors: ValueError for likelihoods or latent codes by velocities which an objective has not trained."""
    if _is_only_to_data(config):
        raise ValueError(
            f"config.training.objective = {config.training.objective!r} with flow_share = 0 trains steps to the data "
            "alone, but likelihoods and latent codes follow the velocity u(x, t, t); train with a flow_share above 0, "
            "or leave them out (config.eval.enable_bpd = False)."
        )


def rule(config: ConfigDict) -> Rule:
    """The rule of `training.objective`. Errors: ValueError for what it cannot be used with."""
    training, name = config.training, config.training.objective
    make, _ = choose("training.objective", name, OBJECTIVES)
    if not config.model.second_time:
        raise ValueError(
            f"config.training.objective = {name!r} trains average velocities, which need config.model.second_time = "
            "True; set it, or objective = 'score_matching'."
        )
    if training.sde != "linear":
        raise ValueError(
            f"config.training.objective = {name!r} is defined on the straight line from data to noise, but "
            f"config.training.sde = {training.sde!r}; use 'linear'."
        )
    if training.uncertainty:
        raise ValueError(
            f"config.training.uncertainty = {training.uncertainty} weights score matching by time, but "
            f"config.training.objective = {name!r}; use objective = 'score_matching', or uncertainty = False."
        )
    if training.noise_schedule is not None:
        raise ValueError(
            f"config.training.noise_schedule = {training.noise_schedule!r} trains on a bound for levels, but "
            f"config.training.objective = {name!r}; use objective = 'score_matching', or leave noise_schedule unset."
        )
    if training.train_guidance != 1 and not (config.model.num_labels and config.model.label_dropout):
        raise ValueError(
            f"config.training.train_guidance = {training.train_guidance} needs a network that is trained with and "
            "without classes: set config.model.num_labels and model.label_dropout, or train_guidance = 1."
        )
    _check_flow_share(config)
    if name in DIFFERENTIATED and is_import_path(config.model.name):
        _check_derivative(config)
    return make(config)


def own_velocity(config: ConfigDict) -> bool:
    """Whether v of intervals that are not empty is u(x, t, t) itself; a shortcut has no v there."""
    return config.training.velocity == "network" and config.training.objective != "shortcut"


def sample_interval(config: ConfigDict, times: SampleTimes, others: SampleTimes) -> SampleInterval:
    """The times of an objective; `others`: independent ones."""
    _, sample = choose("training.objective", config.training.objective, OBJECTIVES)
    return sample(config, times, others)


def _is_only_to_data(config: ConfigDict) -> bool:
    return config.training.objective in TO_DATA and config.training.flow_share == 0


def _check_flow_share(config: ConfigDict) -> None:
    """Errors: ValueError where targets contain u(x, t, t), but no example trains it."""
    training = config.training
    if training.flow_share > 0:
        return
    if training.objective in ("shortcut", "improved_mean_flow"):
        what = f"objective = {training.objective!r}"
    elif own_velocity(config):
        what = "velocity = 'network'"
    elif training.train_guidance != 1:
        what = f"train_guidance = {training.train_guidance}"
    else:
        return
    raise ValueError(
        f"config.training.{what} has targets by the network's own velocity u(x, t, t), which flow_share = 0 leaves "
        "without data to learn from; set config.training.flow_share above 0, such as 0.25."
    )


def _check_derivative(config: ConfigDict) -> None:
    """Errors: ValueError for a network of the user's own that cannot be differentiated in forward mode."""
    module, (x, time, _) = make_network(config), example_inputs(config)
    cond = {**(example_condition(config) or {}), "interval": jnp.ones((1,))}

    def slope(x: jax.Array, time: jax.Array) -> jax.Array:
        rngs = {name: jax.random.key(0) for name in ("params", "dropout")}
        apply = lambda x, time: module.init_with_output(rngs, x, time, cond, train=True)[0]  # noqa: E731
        return jax.jvp(apply, (x, time), (x, time))[1]

    try:
        jax.jit(slope).lower(jnp.asarray(x), jnp.asarray(time))  # tracing alone does not notice
    except (TypeError, NotImplementedError) as error:
        raise ValueError(
            f"config.training.objective = {config.training.objective!r} needs the forward-mode derivative of the "
            f"network {config.model.name!r}, which has none ({str(error).splitlines()[0]}); use 'consistency' or "
            "'shortcut', or define it with jax.custom_jvp instead of jax.custom_vjp."
        ) from error


def _strength(config: ConfigDict) -> Weight:
    warmup = config.training.tangent_warmup
    return ramp(0.0, 1.0, 0, warmup) if warmup else constant(1.0)


def _mean_flow(config: ConfigDict) -> Rule:
    return mean_flow(improved=False, strength=_strength(config))


def _improved(config: ConfigDict) -> Rule:
    return mean_flow(improved=True, strength=_strength(config))


def _consistency(config: ConfigDict) -> Rule:
    training = config.training
    return consistency(halved(training.first_gap, training.last_gap, training.gap_halving))


def _between(config: ConfigDict, times: SampleTimes, others: SampleTimes) -> SampleInterval:
    return between(times, others, config.training.flow_share)


def _to_data(config: ConfigDict, times: SampleTimes, others: SampleTimes) -> SampleInterval:
    return to_data(times, config.training.flow_share)


def _dyadic(config: ConfigDict, times: SampleTimes, others: SampleTimes) -> SampleInterval:
    return dyadic(times, config.training.flow_share, config.training.shortcut_levels)


OBJECTIVES: dict[str, Entry] = {
    "mean_flow": (_mean_flow, _between),
    "improved_mean_flow": (_improved, _between),
    "shortcut": (lambda config: shortcut(0.5**config.training.shortcut_levels), _dyadic),
    "consistency": (_consistency, _to_data),
    "continuous_consistency": (_mean_flow, _to_data),
}
TO_DATA = tuple(name for name, (_, sample) in OBJECTIVES.items() if sample is _to_data)
DIFFERENTIATED = ("mean_flow", "improved_mean_flow", "continuous_consistency")
