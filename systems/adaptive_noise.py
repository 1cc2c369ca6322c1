"""Diffusion with learned adaptive noise (MuLAN): how fast noise comes to each pixel depends on the image."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from builders.adaptive_noise import LATENT, TIMES, make_adaptive_noise, with_conditions
from builders.guidance import Asked, Guide
from builders.learned import schedule
from builders.objective import objective_on_levels
from builders.score import make_predict_of
from core.arrays import Array
from core.keys import LikelihoodKey, SampleKey, draw_normal, fold_in
from core.target import float32_products
from corruption.paths import Conditioned
from corruption.predictions import Gaussian, Predict
from likelihood.bound import of_levels
from likelihood.levels import grid, levels_bound
from sampling.base import Samples
from sampling.loop import FixedStep
from sampling.pc import PredictorCorrector
from sde.warped import Warped
from systems.base import Context, Evaluation
from systems.diffusion import Diffusion
from systems.requests.base import RequestTask
from systems.requests.generate import UNCONDITIONAL
from training.objectives.base import Batch, Params, Variables


class AdaptiveNoiseDiffusion(Diffusion):
    """An encoder of a latent, a noise schedule of each number given it, and a diffusion model given both.

        -log P(x0) <= E_q(latent | x0)[bound of `corruption.levels` on the paths given the latent] + KL(q || N(0, I))

    Its parameters are "network", with the map of times that all numbers share and its ends, "encoder" and "schedule".
    Source: Sahoo et al., "Diffusion Models With Learned Adaptive Noise", NeurIPS 2024.
    Notes: the latent is normally distributed; published is a vector of k ones. The ends of the schedule are learned,
    as in variational diffusion. A network with the entry `concat` sees the time of each
    pixel beside the mean time and the latent.
    """

    def __init__(self, context: Context):
        self.adaptive = make_adaptive_noise(context.config)
        super().__init__(dataclasses.replace(context, config=with_conditions(context.config)))
        config, num_levels = self.config, self.spec.num_levels
        self._of_network = make_predict_of(config, gather_params=self.devices.gather_params)
        of_schedule, self._levels = schedule(config), grid(num_levels, config.data.centered)
        self._schedule = lambda params, t: of_schedule(params["network"], t)
        self.objective = objective_on_levels(config, self.sde, num_levels, self.conditioned, self._schedule)

    def init(self, key: Array) -> Variables:
        """Network, encoder, schedule."""
        variables = super().init(key)
        return {**variables, "params": {"network": variables["params"], **self.adaptive.init(key)}}

    def conditioned(
        self, params: Params, batch: Batch, x0: Array, keys: Array, dropout_key: Array | None
    ) -> Conditioned:
        """Predictions and paths given a sample of the latent of x0 [B, ...]."""
        own = self.devices.gather_params({name: params[name] for name in ("encoder", "schedule")})
        latent, nats = self.adaptive.encode(own, x0, keys)
        return Conditioned(self._given(params["network"], latent, dropout_key), self.adaptive.path(own, latent), nats)

    def _given(self, params: Params, latent: Array, dropout_key: Array | None = None) -> Predict:
        """The predictions at times [B, ...] of all numbers, given the latent [B, D]."""

        def predict(x: Array, s: Array) -> Gaussian:
            return self._of_network(params, {LATENT: latent, TIMES: s}, dropout_key)(x, s)

        return predict

    @functools.cached_property
    def bits_per_dim(self) -> Callable[[Any, Array, Batch, Any], dict[str, Array]]:
        """The bound with one sample of the latent for each example; see `Diffusion.bits_per_dim`."""
        settings = self.config.eval

        def measure(params: Any, keys: Array, batch: Batch, learned: Any) -> dict[str, Array]:
            x0 = self.to_model(batch["x"])
            with float32_products("highest"):
                given = self.conditioned(params, {}, x0, fold_in(keys, LikelihoodKey.DATA), None)
                first, last = self._schedule(params, jnp.zeros(1))[2:]
                found = levels_bound(
                    given.predict, self.sde, x0, fold_in(keys, LikelihoodKey.PROBES), self._levels,
                    first=first, last=last, path=given.path, num_times=settings.num_probes,
                )  # fmt: skip
            return of_levels(found._replace(nats=found.nats + given.nats), x0.shape, settings.num_probes)

        return jax.jit(measure)

    def make_guide(self) -> Guide:
        """None: samples follow the schedules of their own latents."""
        return Guide(lambda params, guide, asked: None, None, 0)

    def sampled(self, weights: Any, guide_params: Any, keys: Array, asked: Asked) -> Samples:
        """Samples in the model's own units, each with a latent of its own from the prior."""
        params, _ = weights
        latent = draw_normal(fold_in(keys, SampleKey.LATENT), (len(keys), self.adaptive.dim))
        path, (_, _, first, last) = self.adaptive.path(params, latent), self._schedule(params, jnp.zeros(1))

        def clock(t: Array) -> tuple[Array, Array]:
            where, pace = path(t)
            return first + (last - first) * where, (last - first) * pace

        predict = self._given(params["network"], latent)
        sampler = on_clock(self.sampler, Warped(self.sde, clock))
        shape = (len(keys), *self.spec.shape)
        trajectory = self.config.sampling.trajectory
        return sampler(keys, lambda x, t: predict(x, clock(t)[0]), shape, trajectory=trajectory)

    def labels(self, start: int, num: int) -> Asked:
        """Nothing is asked of samples."""
        return None

    @property
    def density(self) -> None:  # type: ignore[override]
        """None: the data have no likelihood without their latents."""
        return None

    @property
    def subject(self) -> tuple[str, ...]:
        """Data, what the system is, network."""
        return self.config.data.dataset, self.config.system, self.config.model.name

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """The loss, bits per dimension and samples."""
        return {"loss": self.loss_task, "bits_per_dim": self.bits_per_dim_task, "samples": self.samples_task}

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """Samples."""
        return {"unconditional": UNCONDITIONAL}


def on_clock(sampler: Any, sde: Warped) -> FixedStep:
    """A predictor's sampler with another SDE, whose prior is the same."""
    assert isinstance(sampler, FixedStep) and isinstance(sampler.stepper, PredictorCorrector)  # by `with_conditions`
    return dataclasses.replace(sampler, stepper=dataclasses.replace(sampler.stepper, sde=sde))
