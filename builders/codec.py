"""Between data and the codes of an earlier tokenizer, which a model is trained on."""

import dataclasses
import math
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import data
from builders.earlier import EarlierRun
from builders.tokenizer import external_tokenizer, make_tokenizer
from core.arrays import Array
from core.keys import ExampleKey, draw_normal, fold_in
from data.fields import Field
from data.readers.encoded import FORM, field
from data.spec import DataSpec
from likelihood import dequantize
from likelihood.cells import log_probability_nats
from models.tokenizers.base import Tokenizer
from training.frozen import FROZEN
from training.objectives.base import Variables

STAGE = "tokenizer"  # the name of the stage
STATISTICS = "latents"  # the collection of their mean and scale


@dataclasses.dataclass(frozen=True)
class Codec:
    """From values of the data to codes, and back. Latents are standardized by the statistics of the training data:

        z = (latent - offset) / scale,    offset [D]: means, scale: one number, which keeps rotations rotations

    Where the values `are_codes` already, as `--mode=encode` writes them, only that remains to be done.
    config: that of the data, whose scaling the tokenizer expects; spec: of those data.
    """

    tokenizer: Tokenizer
    config: ConfigDict
    spec: DataSpec
    are_codes: bool = False

    @property
    def field(self) -> Field:
        """What codes are."""
        return field(self.tokenizer.num_codes, self.tokenizer.code_shape)

    @property
    def has_likelihood(self) -> bool:
        """Whether a density of latents becomes a bound on the probability of the data; see `nats_beside`."""
        if self.tokenizer.num_codes or self.are_codes:
            return False
        return self.tokenizer.is_bijective or (self.tokenizer.is_uncertain and bool(self.spec.num_levels))

    def initial_statistics(self) -> Variables:
        """The collection of statistics before they are known; none for tokens."""
        if self.tokenizer.num_codes:
            return {}
        offset = jnp.zeros(self.tokenizer.code_shape[-1:], jnp.float32)
        return {STATISTICS: {"offset": offset, "scale": jnp.float32(1), "noise_std": jnp.float32(1)}}

    def statistics(self, variables: Variables, batches: Iterable[Mapping[str, np.ndarray]]) -> Variables:
        """The same, of batches of training data; "noise_std" is the root mean square error of reconstructions."""
        if self.tokenizer.num_codes:
            return {}

        def moments(values: Array) -> tuple[Array, Array]:
            latents = self._latents(variables, values)
            error = jnp.float32(1)
            if not self.are_codes:
                x = self.to_model(values)
                error = jnp.mean((self.tokenizer.decode(self._weights(variables), latents) - x) ** 2)
            return latents, error

        found = [jax.device_get(jax.jit(moments)(jnp.asarray(batch["x"]))) for batch in batches]
        latents = np.concatenate([latents for latents, _ in found]).astype(np.float64)
        offset = latents.reshape(-1, latents.shape[-1]).mean(0)
        scale = max(float((latents - offset).std()), 1e-6)
        noise = max(float(np.sqrt(np.mean([error for _, error in found]))), 1e-4)
        given = {"offset": offset, "scale": scale, "noise_std": noise}
        return {STATISTICS: {name: jnp.asarray(value, jnp.float32) for name, value in given.items()}}

    def encode(self, variables: Variables, values: Array, keys: Array | None = None) -> Array:
        """Codes [B, *code_shape] of values [B, ...]: tokens, or standardized latents.

        keys [B]: latents that are uncertain are sampled; without keys they are their means.
        """
        if self.tokenizer.num_codes:
            tokens = (
                values if self.are_codes else self.tokenizer.encode(self._weights(variables), self.to_model(values))
            )
            return tokens.astype(self.field.dtype)
        latents = self._latents(variables, values, keys)
        return (latents - _offset(variables, latents)) / variables[STATISTICS]["scale"]

    def decode(self, variables: Variables, codes: Array) -> Array:
        """Values of the data of codes."""
        latents = self.unscaled(variables, codes)
        return latents if self.are_codes else self.to_data(self.tokenizer.decode(self._weights(variables), latents))

    def unscaled(self, variables: Variables, codes: Array) -> Array:
        """What the decoder takes."""
        if self.tokenizer.num_codes:
            return codes
        return codes * variables[STATISTICS]["scale"] + _offset(variables, codes)

    def nats_beside(self, variables: Variables, values: Array, keys: Array) -> tuple[Array, Array]:
        """(z, nats [B]) with E[-ln p(z) + nats] >= -ln P(values), where p is a density of standardized latents z.

        A rotation has, with uniform dequantization u, the exact nats = ln q(u) + D ln scale. Uncertain latents have
        nats = ln q(z | x) - ln P(values | z), where P is normal around the reconstruction, with the error of
        reconstructions as its standard deviation, integrated over the cell of each value.
        """
        z = self.encode(variables, values, keys)
        num_dims, scale = math.prod(values.shape[1:]), variables[STATISTICS]["scale"]
        if self.tokenizer.is_bijective:
            num_levels, centered = self.spec.num_levels, self.config.data.centered
            unit = (
                dequantize.uniform_logq_nats(num_dims, num_levels, centered)
                if num_levels
                else num_dims * math.log(self.config.data.scale)
            )
            return z, jnp.full((len(values),), unit) + num_dims * jnp.log(scale)
        q = self.tokenizer.posterior(self._weights(variables), self.to_model(values))
        assert q is not None
        latents = self.unscaled(variables, z)
        noise = (latents - q.mean) / q.std
        logq = -0.5 * noise**2 - 0.5 * math.log(2 * math.pi) - jnp.log(q.std / scale)
        return z, _sum(logq) - _sum(self._log_probability(variables, values, latents))

    def to_model(self, values: Array) -> Array:
        """Values as the tokenizer sees them."""
        return data.to_model(self.config, self.spec.num_levels)(values)

    def to_data(self, x: Array) -> Array:
        """The inverse of `to_model`."""
        return data.to_data(self.config, self.spec.num_levels)(x)

    def _latents(self, variables: Variables, values: Array, keys: Array | None = None) -> Array:
        if self.are_codes:
            return values
        weights = self._weights(variables)
        if keys is None:
            return self.tokenizer.encode(weights, self.to_model(values))
        if self.tokenizer.is_bijective:
            prepare = data.prepare(self.config, self.spec.num_levels)
            return self.tokenizer.encode(weights, prepare(fold_in(keys, ExampleKey.DATA), {"x": values}))
        x = self.to_model(values)
        q = self.tokenizer.posterior(weights, x)
        if q is None:
            return self.tokenizer.encode(weights, x)
        return q.mean + q.std * draw_normal(fold_in(keys, ExampleKey.NOISE), q.mean.shape)

    def _log_probability(self, variables: Variables, values: Array, latents: Array) -> Array:
        """ln P(values | latents) of each value."""
        config, num_levels = self.config.data, self.spec.num_levels
        steps = num_levels if config.uniform_dequantization else num_levels - 1
        half = (1.0 if config.centered else 0.5) / steps
        mean = self.tokenizer.decode(self._weights(variables), latents)
        noise_std = variables[STATISTICS]["noise_std"]
        return log_probability_nats(values, mean, noise_std, self.to_model(values), half, num_levels)

    def _weights(self, variables: Variables) -> Variables:
        return variables.get(FROZEN, {}).get(STAGE, {})


def make_codec(config: ConfigDict, stage: EarlierRun | None, spec: DataSpec) -> Codec:
    """The codec of the stage `tokenizer`, or of `config.tokenizer.external`.

    Errors: ValueError for a stage that is no tokenizer, or one of other data.
    """
    if stage is None:
        return Codec(external_tokenizer(config.tokenizer.external, spec.shape), config, spec)
    given = "config.model.stages names a tokenizer"
    if stage.config.system != "tokenizer" or stage.spec is None:
        raise ValueError(
            f"{given} that is a run of config.system = {stage.config.system!r}; give the run of a 'tokenizer'."
        )
    tokenizer, dataset = make_tokenizer(stage.config), config.data.dataset
    found = Codec(tokenizer, stage.config, stage.spec, are_codes=dataset.startswith(f"{FORM}:"))
    taken = found.field if found.are_codes else stage.spec.fields["x"]
    if (taken.shape, taken.num_levels) != (spec.shape, spec.num_levels):
        what = "makes codes" if found.are_codes else "takes examples"
        raise ValueError(
            f"{given} that {what} of shape {taken.shape} with {taken.num_levels} levels, but {dataset} has "
            f"{spec.shape} with {spec.num_levels}; give a tokenizer of these data, or the data that it was trained on."
        )
    return found


def code_config(config: ConfigDict, codec: Codec) -> ConfigDict:
    """The config of a model of codes: `data` describes them, as values that need no scaling.

    Errors: ValueError for a network of another number of categories than the codebook has codes.
    """
    found = config.copy_and_resolve_references()
    shape, num_codes = codec.field.shape, codec.field.num_levels
    if num_codes and config.model.num_categories not in (None, num_codes):
        raise ValueError(
            f"config.model.num_categories = {config.model.num_categories}, but the tokenizer has {num_codes} codes; "
            f"set it to {num_codes}, or name another tokenizer."
        )
    with found.unlocked():
        found.model.stages = ()
        found.data.update(shape=shape, num_channels=shape[-1], num_levels=num_codes or None)
        found.data.update(random_flip=False, uniform_dequantization=False, centered=True, offset=0.0, scale=1.0)
        if num_codes and found.model.num_categories is None:
            found.model.num_categories = num_codes
    return found


def _offset(variables: Variables, latents: Array) -> Array:
    """The mean of each channel, as an array that broadcasts with latents [B, ..., D]."""
    return variables[STATISTICS]["offset"].reshape(*(1,) * (latents.ndim - 1), -1)


def _sum(values: Array) -> Array:
    """The sum [B] of values [B, ...] over all but the first axis."""
    return jnp.sum(values.reshape(len(values), -1), axis=1)
