"""A tokenizer that is learned: an encoder, what becomes of its features, and a decoder."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from models.tokenizers.base import Passed, Posterior, Variables
from models.tokenizers.codebook import Quantized


class Quantizer(Protocol):
    """What becomes of the features [B, ..., num_outputs] of an encoder; see `VectorQuantizer` and `NormalLatents`."""

    @property
    def num_codes(self) -> int: ...
    @property
    def is_uncertain(self) -> bool: ...
    @property
    def num_outputs(self) -> int: ...
    @property
    def num_channels(self) -> int: ...
    def init(self, key: Array) -> Variables: ...
    def start(self, variables: Variables, features: np.ndarray, seed: int) -> Variables: ...
    def to_codes(self, variables: Variables, features: Array) -> Array: ...
    def to_latents(self, variables: Variables, codes: Array) -> Array: ...
    def posterior(self, features: Array) -> Posterior | None: ...
    def __call__(self, variables: Variables, features: Array, keys: Array, *, train: bool) -> Quantized: ...


@dataclasses.dataclass(frozen=True)
class AutoEncoder:
    """Data [B, *shape] to codes and back. `sides`: of a code; `dim`: channels of the decoder's input.

    reservoir: encoder features to which k-means fits the codebook at step 0; None: it keeps its initial vectors.
    """

    shape: tuple[int, ...]
    sides: tuple[int, ...]
    dim: int
    encoder: nn.Module
    decoder: nn.Module
    quantizer: Quantizer
    reservoir: int | None = None
    is_bijective: bool = False

    @property
    def num_codes(self) -> int:
        """The size of the codebook; 0 for latents."""
        return self.quantizer.num_codes

    @property
    def is_uncertain(self) -> bool:
        """Whether latents have a distribution."""
        return self.quantizer.is_uncertain

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of a code."""
        return (*self.sides, self.quantizer.num_channels)

    def init(self, key: Array) -> Variables:
        """Parameters of the encoder, the decoder and perhaps the codebook, and perhaps its running counts."""
        keys = [jax.random.fold_in(key, k) for k in range(3)]
        encoder: Any = self.encoder.init(keys[0], jnp.zeros((1, *self.shape))).get("params", {})
        decoder: Any = self.decoder.init(keys[1], jnp.zeros((1, *self.sides, self.dim))).get("params", {})
        others = self.quantizer.init(keys[2])
        own = {name: found for name, found in (("encoder", encoder), ("decoder", decoder)) if found}
        return {**others, "params": {**own, **others.get("params", {})}}

    def features(self, variables: Variables, x: Array) -> Array:
        """What the encoder says of x."""
        found: Any = self.encoder.apply({"params": variables["params"].get("encoder", {})}, x)
        return found

    def encode(self, variables: Variables, x: Array) -> Array:
        """The tokens of x, or the mean of its latents."""
        return self.quantizer.to_codes(variables, self.features(variables, x))

    def decode(self, variables: Variables, codes: Array) -> Array:
        """The data of codes."""
        return self._decoded(variables, self.quantizer.to_latents(variables, codes))

    def posterior(self, variables: Variables, x: Array) -> Posterior | None:
        """The distribution of the latents; None for tokens."""
        return self.quantizer.posterior(self.features(variables, x))

    def reconstruct(self, variables: Variables, x: Array, keys: Array, *, train: bool) -> Passed:
        """The reconstruction, and the losses of the quantizer."""
        found = self.quantizer(variables, self.features(variables, x), keys, train=train)
        return Passed(self._decoded(variables, found.latents), found.losses, found.metrics, found.collections)

    def start(self, variables: Variables, batches: Sequence[Array], seed: int) -> Variables:
        """The codebook by k-means of encoder features of the batches, where `reservoir` asks for it.

        With the encoder of an earlier run this is ReFiT's rebuilt codebook.
        Source: Hu et al., "Global Context with Discrete Diffusion in Vector Quantised Modelling", CVPR 2022, section 3.
        """
        if self.reservoir is None:
            return variables
        encode = jax.jit(lambda x: self.features(variables, x).reshape(-1, self.quantizer.num_outputs))
        found = np.concatenate([np.asarray(encode(x)) for x in batches])
        kept = np.random.default_rng(seed).permutation(len(found))[: self.reservoir]
        return self.quantizer.start(variables, found[np.sort(kept)], seed)

    def _decoded(self, variables: Variables, latents: Array) -> Array:
        found: Any = self.decoder.apply({"params": variables["params"].get("decoder", {})}, latents)
        return found
