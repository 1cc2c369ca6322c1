"""Adaptive noise of a config: the encoder of a latent, the schedule of each number given it, and the conditions."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from builders.network import network_entry
from builders.shape import data_shape
from configs.conditions import Condition
from core.arrays import Array
from core.keys import ExampleKey, draw_normal, fold_in
from corruption.divergence import divergence_nats
from corruption.paths import Path
from models.heads.pixel_schedule import PixelSchedule
from models.networks.encoder import FIRST_LOG_STD, VectorEncoder
from models.tokenizers.base import Posterior

LATENT, TIMES = "latent", "noise_times"  # conditions of the network: a vector, and an array like the data
SAMPLERS = ("ancestral_sampling", "ddim", "euler_maruyama", "heun")


@dataclasses.dataclass(frozen=True)
class AdaptiveNoise:
    """Encoder and schedule; `params` are those of both, "encoder" and "schedule"."""

    encoder: VectorEncoder
    schedule: PixelSchedule
    dim: int

    def init(self, key: Array) -> dict[str, Any]:
        """The parameters at step 0."""
        x, latent = jnp.zeros((1, *self.schedule.shape)), jnp.zeros((1, self.dim))
        encoder = self.encoder.init(jax.random.fold_in(key, 1), x)["params"]
        schedule = self.schedule.init(jax.random.fold_in(key, 2), latent, jnp.zeros(1))["params"]
        return {"encoder": encoder, "schedule": schedule}

    def encode(self, params: Any, x0: Array, keys: Array) -> tuple[Array, Array]:
        """A sample of q(latent | x0) [B, D], and KL(q || N(0, I)) in nats [B]; the std of q is about 1 at first."""
        q: Posterior = self.encoder.apply({"params": params["encoder"]}, x0)  # type: ignore[assignment]
        std = math.exp(-FIRST_LOG_STD) * q.std
        latent = q.mean + std * draw_normal(fold_in(keys, ExampleKey.LATENT), q.mean.shape)
        return latent, jnp.sum(divergence_nats(q.mean, std, 0.0, 1.0), axis=1)

    def path(self, params: Any, latent: Array) -> Path:
        """The path of each number, given the latent."""

        def path(u: Array) -> tuple[Array, Array]:
            found: Any = self.schedule.apply({"params": params["schedule"]}, latent, u)
            return found

        return path


def make_adaptive_noise(config: ConfigDict) -> AdaptiveNoise:
    """The encoder and the schedule that `config.adaptive` describes."""
    settings, shape = config.adaptive, data_shape(config)
    encoder = VectorEncoder((settings.dim,), "patch", 1, settings.encoder_nf, 0)
    return AdaptiveNoise(encoder, PixelSchedule(shape, settings.width), settings.dim)


def with_conditions(config: ConfigDict) -> ConfigDict:
    """The config of the network, which is conditioned on the latent and, where it can be, on the time of each number.

    Errors: ValueError for other conditions, and for settings that adaptive noise does not go with.
    """
    if config.training.noise_schedule != "learned" or config.eval.bpd_method != "levels":
        raise ValueError(
            f"config.system = {config.system!r} is trained and evaluated on the bound of a learned schedule, but "
            f"config.training.noise_schedule = {config.training.noise_schedule!r} and config.eval.bpd_method = "
            f"{config.eval.bpd_method!r}; use 'learned' and 'levels'."
        )
    if config.model.conditions or config.model.num_labels or config.model.augment_dim:
        raise ValueError(
            f"config.system = {config.system!r} conditions the network on its latent alone; leave "
            "config.model.conditions empty, and config.model.num_labels and augment_dim at 0."
        )
    _check_sampling(config)
    conditions = [Condition(LATENT, config.adaptive.entry, 0.0, (config.adaptive.dim,))]
    if "concat" in network_entry(config).signals:
        conditions.append(Condition(TIMES, "concat", 0.0, data_shape(config)))
    found = config.copy_and_resolve_references()
    with found.unlocked():
        found.model.conditions = tuple(map(str, conditions))
    return found


def _check_sampling(config: ConfigDict) -> None:
    """Errors: ValueError for a sampler whose coefficients are the same for all numbers of an example."""
    sampling = config.sampling
    given = {"method": "pc", "corrector": "none", "guidance": "none", "start": "prior", "grid": "uniform"}
    for name, expected in given.items():
        if sampling[name] != expected:
            raise ValueError(
                f"config.sampling.{name} = {sampling[name]!r}, but with config.system = {config.system!r} each number "
                f"of an example has noise of its own amount; use {expected!r}."
            )
    if sampling.predictor not in SAMPLERS or sampling.diffusion != "sde" or sampling.churn:
        raise ValueError(
            f"config.sampling.predictor = {sampling.predictor!r} with diffusion = {sampling.diffusion!r} and churn = "
            f"{sampling.churn}, but with config.system = {config.system!r} each number of an example has noise of its "
            f"own amount; use one of {', '.join(SAMPLERS)}, with 'sde' and 0."
        )
