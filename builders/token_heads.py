"""The heads of image tokens: what a token is given the state of a backbone, trained, sampled and measured."""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from builders import likelihood
from builders.condition import embedding
from builders.guidance import interval_of
from builders.network import DTYPES, products
from builders.objective import score_matching_of
from builders.process import make_sde, network_time, parameterization_name
from builders.sampler import make_sampler
from core.arrays import Array
from core.keys import LikelihoodKey, fold_in
from core.tables import choose
from corruption.predictions import Predict
from models.heads.diffusion import DiffusionHead
from models.parameterizations import PARAMETERIZATIONS, make_predict
from models.precision import converted
from sampling.guidance import classifier_free
from sampling.mask_rounds import State
from training.objectives.base import Batch, Params


class TokenHead(Protocol):
    """A distribution of N tokens, each given a state; `params` are those of the head alone."""

    def init(self, key: Array, width: int) -> Params:
        """The parameters at step 0, for states [N, width]."""
        ...

    def losses(self, params: Params, keys: Array, state: Array, x: Array, step: Array) -> Array:
        """The loss [N] of tokens x [N, ...]."""
        ...

    def sample(self, params: Params, keys: Array, state: State, scale: float) -> tuple[Array, Array]:
        """Tokens [N, ...] and the calls of the head. With two states the second one is without the condition."""
        ...

    def logp_nats(self, params: Params, keys: Array, state: Array, x: Array) -> Array:
        """The log-density, or log-probability, of tokens, [N]."""
        ...


@dataclasses.dataclass(frozen=True)
class DiffusionTokens:
    """Continuous tokens of `dim` numbers, by a score model: the loss, samplers and likelihood of all score models."""

    config: ConfigDict
    dim: int
    dtype: str | None = None

    @property
    def network(self) -> DiffusionHead:
        """The head."""
        settings = self.config.mmar
        name = self.dtype or self.config.model.dtype
        return DiffusionHead(
            settings.head_nf, settings.head_blocks, embedding(self.config), self.config.model.nonlinearity,
            choose("model.dtype", name, DTYPES),
        )  # fmt: skip

    def init(self, key: Array, width: int) -> Params:
        """The parameters at step 0."""
        return self.network.init(key, jnp.zeros((1, self.dim)), jnp.ones(1), jnp.zeros((1, width)))["params"]

    def predict(self, params: Params, state: Array) -> Predict:
        """`(x [N, d], t [N]) -> Gaussian` of tokens, given their states [N, D]."""
        config, network, process = self.config, self.network, make_sde(self.config)
        make = choose("model.parameterization", parameterization_name(config), PARAMETERIZATIONS)
        params = converted(params, network.dtype)

        def apply(x: Array, time: Array, cond: Any) -> Any:
            with products(network):
                return network.apply({"params": params}, x, time, state)

        return make_predict(apply, process, network_time(config), make(config.model.sigma_data))

    def losses(self, params: Params, keys: Array, state: Array, x: Array, step: Array) -> Array:
        """Denoising score matching, at `mmar.head_samples` times of each token."""
        K = self.config.mmar.head_samples

        def predict_of(params: Params, batch: Batch, dropout_key: Array | None) -> Predict:
            return self.predict(params, batch["state"])

        several = jnp.stack([fold_in(keys, k) for k in range(K)]).reshape(-1)
        batch = {name: jnp.concatenate([a] * K) for name, a in (("x", x), ("state", state))}
        terms = score_matching_of(self.config, predict_of)({"params": params}, several, batch, None, step)
        return terms.losses["score_matching"].reshape(K, -1).mean(axis=0)

    def sample(self, params: Params, keys: Array, state: State, scale: float) -> tuple[Array, Array]:
        """Tokens by the sampler of the config."""
        predict, *without = (self.predict(params, of) for of in state)
        predict = classifier_free(predict, without[0], scale, interval_of(self.config)) if without else predict
        found = make_sampler(self.config)(keys, predict, (len(keys), self.dim))
        return found.x, found.num_evals

    def logp_nats(self, params: Params, keys: Array, state: Array, x: Array) -> Array:
        """The log-density by the probability-flow ODE, with the exact divergence unless the config says otherwise."""
        measure = likelihood.log_density(self.config, make_sde(self.config))
        return measure(self.predict(params, state), fold_in(keys, LikelihoodKey.NOISE), x).nats


@dataclasses.dataclass(frozen=True)
class CategoricalTokens:
    """Tokens below `num_codes`: one linear layer makes their logits."""

    config: ConfigDict
    num_codes: int

    def init(self, key: Array, width: int) -> Params:
        """Zeros: all tokens are equally likely."""
        del key
        return {"kernel": jnp.zeros((width, self.num_codes)), "bias": jnp.zeros((self.num_codes,))}

    def logits(self, params: Params, state: Array) -> Array:
        """[N, K] of tokens, given their states [N, D]."""
        return state @ params["kernel"] + params["bias"][None]

    def losses(self, params: Params, keys: Array, state: Array, x: Array, step: Array) -> Array:
        """The cross-entropy in nats."""
        return -self.logp_nats(params, keys, state, x)

    def sample(self, params: Params, keys: Array, state: State, scale: float) -> tuple[Array, Array]:
        """Tokens at the temperature of the config; guidance is linear in the log-probabilities."""
        logp, *without = (jax.nn.log_softmax(self.logits(params, of)) for of in state)
        logp = without[0] + scale * (logp - without[0]) if without else logp
        temperature = self.config.sampling.temperature
        if not temperature:
            return jnp.argmax(logp, axis=1), jnp.int32(1)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, logp.shape[1:]))(keys)
        return jnp.argmax(logp / temperature + noise, axis=1), jnp.int32(1)

    def logp_nats(self, params: Params, keys: Array, state: Array, x: Array) -> Array:
        """The log-probability."""
        logp = jax.nn.log_softmax(self.logits(params, state))
        return jnp.take_along_axis(logp, x[:, None].astype(jnp.int32), axis=1)[:, 0]
