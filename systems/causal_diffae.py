"""Causal diffusion autoencoders: an encoder of causes, and a diffusion model of the data given them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from builders import guidance
from builders.causal import LATENT, make_causal, with_latent
from builders.guidance import Asked, Guide
from builders.score import make_predict_of
from core.arrays import Array
from core.keys import ExampleKey, SampleKey, draw_normal, fold_in
from models.blocks.causal_latent import Intervention
from sampling import latent
from sampling.guidance import classifier_free
from sampling.ode import ProbabilityFlow
from systems.base import Context, Evaluation, FetchBatches, Generate
from systems.diffusion import Diffusion
from systems.evaluations.counterfactual import counterfactual, disentanglement, strength
from systems.requests.base import RequestTask
from systems.requests.counterfactual import Counterfactual
from systems.requests.counterfactual import counterfactual as requested
from systems.requests.generate import UNCONDITIONAL
from training.objectives.base import Batch, Params, Terms, Variables
from training.objectives.causal import label_kl, noise_kl

LABELS = "labels"  # the collection of their statistics
GUIDANCES = ("none", "classifier_free")


class CausalDiffAE(Diffusion):
    """An encoder of latents z, a causal graph between z and the noise u of each variable, a diffusion model given z.

    Its parameters are "network", "encoder" and "causal"; the collection "labels" has what a label of 1 means.
    Source: Komanduri et al., "Causal Diffusion Autoencoders: Toward Counterfactual Generation via Diffusion
    Probabilistic Models", ECAI 2024.
    Notes: the encoder gives z, and u_i = z_i - f_i(z of parents), where that of the paper gives u. The model is the
    same, but labels then train the encoder alone and the noise the mechanisms, which is a regression. The published
    code never inverts the diffusion, sums parents, and uses their noise in place of them.
    """

    def __init__(self, context: Context):
        self.causal = make_causal(context.config, context.spec)
        super().__init__(dataclasses.replace(context, config=with_latent(context.config)))
        if context.config.sampling.guidance not in GUIDANCES:
            raise ValueError(
                f"config.sampling.guidance = {context.config.sampling.guidance!r}, but config.system = "
                f"{context.config.system!r} has {' or '.join(GUIDANCES)}; use one of them."
            )
        of_network, self._score_matching = self.predict_of, self.objective
        self.predict_of = lambda params, batch, key: of_network(params["network"], batch, key)
        self.objective = self.terms

    def init(self, key: Array) -> Variables:
        """Network, encoder, mechanisms; labels as they are until `warm_start`."""
        params = {"network": super().init(key)["params"], **self.causal.init(key)}
        return {"params": params, LABELS: self.causal.initial_statistics()}

    def warm_start(self, variables: Variables, fetch_batches: FetchBatches) -> Variables:
        """The scale and the range of labels."""
        return {**variables, LABELS: self.causal.statistics(self.context.splits.train)}

    def terms(self, variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        """The error of predictions given a sample of z, and the divergences of the noise and from the labels.

        score_matching + weight noise_kl + weight label_kl,   z ~ q(z | x),  u_i = z_i - f_i(z of parents)
        """
        network = variables["params"]["network"]  # which the objective gathers itself
        params = self.devices.gather_params({name: variables["params"][name] for name in ("encoder", "causal")})
        noise = draw_normal(fold_in(keys, ExampleKey.LATENT), (len(keys), *self.causal.latent_shape))
        found = self.causal.encode(params, self.to_model(batch["x"]), noise)
        given = {**batch, LATENT: _flat(found.z)}
        losses, metrics, _ = self._score_matching({"params": network}, keys, given, dropout_key, step)
        labels, known = self.causal.standardized(variables[LABELS], batch)
        q = found.posterior
        losses["noise_kl"] = noise_kl(found.noise_mean, q.std, self.causal.noise_std(params))
        losses["label_kl"] = label_kl(q.mean, q.std, labels, known, self.config.causal.label_std)
        error = jnp.abs(q.mean.mean(axis=2) - labels)
        label_error = jnp.sum(error * known) / jnp.maximum(jnp.sum(known), 1)
        return Terms(losses, {**(metrics or {}), "label_error": label_error})

    def make_guide(self) -> Guide:
        """The guidance that `config.sampling` describes, of the network."""

        def make(config: Any, dtype: str | None) -> Callable[..., Any]:
            of_network = make_predict_of(config, dtype)
            return lambda params, batch, key: of_network(params["network"], batch, key)

        return guidance.guide(self.config, self.devices.replicated, self.context.load_network, make)

    @functools.cached_property
    def _from_noise(self) -> Callable[[Variables, Array, Intervention | None], Array]:
        """`(variables, keys [num], intervention) -> z [num, n d]` of the structural model, compiled."""

        def sample(variables: Variables, keys: Array, do: Intervention | None) -> Array:
            params = variables["params"]
            u = draw_normal(fold_in(keys, SampleKey.LATENT), (len(keys), *self.causal.latent_shape))
            return _flat(self.causal.propagate(params, u * self.causal.noise_std(params)[None, :, None], do))

        return jax.jit(sample)

    @property
    def generate(self) -> Generate:
        """Samples of the structural model, where variables that are asked for are set to these values."""

        def sample(variables: Variables, keys: Array, asked: Asked) -> dict[str, Array]:
            do = self.intervention(variables, len(keys), dict(asked) if isinstance(asked, Mapping) else {})
            z = self._from_noise(variables, keys, self.devices.shard_rows(do))
            return self.generate_given(variables, keys, {LATENT: z})

        return sample

    def intervention(
        self, variables: Variables, num: int, values: Mapping[str, Any], shifts: Mapping[str, Any] | None = None
    ) -> Intervention:
        """What sets variables to `values`, and adds `shifts` to others, [num] or numbers, in the units of labels."""
        labels, names = jax.device_get(variables[LABELS]), self.causal.graph.names
        fixed, found, shift = np.zeros((num, len(names)), bool), *np.zeros((2, num, len(names)), np.float32)
        for name, value in values.items():
            i = names.index(name)
            fixed[:, i], found[:, i] = True, (np.asarray(value) - labels["mean"][i]) / labels["std"][i]
        for name, value in (shifts or {}).items():
            i = names.index(name)
            shift[:, i] = np.asarray(value) / labels["std"][i]
        return Intervention(jnp.asarray(fixed), jnp.asarray(found), jnp.asarray(shift))

    @functools.cached_property
    def abduct(self) -> Callable[[Variables, Array], Array]:
        """`(variables, values of the data [B, ...]) -> u [B, n, d]`, the noise of the mean of q(z | x), compiled."""

        def infer(variables: Variables, x: Array) -> Array:
            params = variables["params"]
            return self.causal.noise(params, self.causal.posterior(params, self.to_model(x)).mean)

        return jax.jit(infer)

    @functools.cached_property
    def propagate(self) -> Callable[[Variables, Array, Intervention | None], Array]:
        """`(variables, u [B, n, d], intervention or None) -> z [B, n, d]`, compiled."""
        return jax.jit(lambda variables, u, do: self.causal.propagate(variables["params"], u, do))

    def attributes(self, variables: Variables, z: Array | np.ndarray) -> dict[str, np.ndarray]:
        """What latents z [B, n, d] say of each variable, in the units of its labels: [B]."""
        labels, means = jax.device_get((variables[LABELS], jnp.mean(jnp.asarray(z), axis=2)))
        return {
            name: means[:, i] * labels["std"][i] + labels["mean"][i] for i, name in enumerate(self.causal.graph.names)
        }

    def predictions(self, params: Params, z: Array, scale: Array | None) -> Any:
        """`Predict` given z [B, n, d] at a strength of the guidance; None: that of `config.sampling`."""
        if scale is None:
            return self.guide.predict_of(params, self.guide.params, {LATENT: _flat(z)})
        given, without = (self.predict_of(params, batch, None) for batch in ({LATENT: _flat(z)}, {}))
        return classifier_free(given, without, scale)

    @functools.cached_property
    def to_code(self) -> Callable[..., dict[str, Array]]:
        """`(variables, x [B, ...] as the network sees it, z, strength) -> {"x", "num_evals"}`: the ODE to noise."""
        return self._solve(latent.encode)

    @functools.cached_property
    def from_code(self) -> Callable[..., dict[str, Array]]:
        """`(variables, noise [B, ...], z, strength) -> {"x", "num_evals"}`: the ODE back to the data."""
        return self._solve(latent.decode)

    def _solve(self, direction: Callable[..., Any]) -> Callable[..., dict[str, Array]]:
        @jax.jit
        def solved(params: Params, x: Array, z: Array, scale: Array | None) -> dict[str, Array]:
            flow = self.flow
            found = direction(self.predictions(params, z, scale), self.sde, x, eps=flow.eps, **flow.settings)
            return {"x": found.x, "num_evals": found.num_evals}

        def of(variables: Variables, x: Array, z: Array, scale: float | None = None) -> dict[str, Array]:
            return solved(variables["params"], x, z, None if scale is None else jnp.float32(scale))

        return of

    @property
    def flow(self) -> ProbabilityFlow:
        """The sampler, which has to be the ODE. Errors: ValueError."""
        if not isinstance(self.sampler, ProbabilityFlow):
            raise ValueError(
                "Counterfactuals solve the probability-flow ODE in both directions, but config.sampling.method = "
                f"{self.config.sampling.method!r} cannot be inverted; add --config.sampling.method=ode."
            )
        return self.sampler

    def labels(self, start: int, num: int) -> Asked:
        """Nothing is asked of samples: they are those of the structural model."""
        return None

    @property
    def density(self) -> None:  # type: ignore[override]
        """None: the data have no likelihood without their latents."""
        return None

    @property
    def subject(self) -> tuple[str, ...]:
        """Data, what the system is, and its variables."""
        return self.config.data.dataset, self.config.system, ", ".join(self.causal.graph.names)

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """The loss, samples, and what can be said of counterfactuals and latents."""
        others = {"counterfactual": counterfactual, "strength": strength, "disentanglement": disentanglement}
        causal = {name: functools.partial(make, self) for name, make in others.items()}
        return {"loss": self.loss_task, "samples": self.samples_task, **causal}

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """Samples of the structural model, and counterfactuals of given examples."""
        return {"unconditional": UNCONDITIONAL, "counterfactual": RequestTask(Counterfactual, requested)}


def _flat(z: Array) -> Array:
    """[B, n, d] to [B, n d]."""
    return z.reshape(len(z), -1)
