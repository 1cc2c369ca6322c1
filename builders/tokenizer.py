"""The tokenizer or auto-encoder of a config, and those of others: of an earlier run, or a user's own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from builders.network import DTYPES
from builders.shape import data_shape
from core.arrays import Array
from core.imports import import_object
from core.tables import choose
from models.blocks.activations import ACTIVATIONS
from models.networks.autoencoder import KINDS, Decoder, Encoder, check_sides, halvings
from models.tokenizers.autoencoder import AutoEncoder, Quantizer
from models.tokenizers.base import Posterior, Tokenizer, Trainable, Variables
from models.tokenizers.codebook import LEARNED, VectorQuantizer
from models.tokenizers.normal import NormalLatents
from models.tokenizers.pca import PrincipalComponents
from models.tokenizers.rvq import ResidualQuantizer

FeatureFn = Callable[[Array], dict[str, Array]]


def make_tokenizer(config: ConfigDict) -> Trainable:
    """The tokenizer of `config.tokenizer`. Errors: ValueError for settings that do not fit the data or each other."""
    settings, shape = config.tokenizer, data_shape(config)
    if not check_sides(shape[:-1], settings.factor):
        raise ValueError(
            f"config.tokenizer.factor = {settings.factor} does not divide the sides of examples of shape {shape}; use "
            "a divisor of all of them."
        )
    return choose("tokenizer.quantizer", settings.quantizer, TOKENIZERS)(config, shape)


def _vector_quantized(config: ConfigDict, shape: tuple[int, ...]) -> AutoEncoder:
    return _autoencoder(config, shape, _codebook(config), _reservoir(config))


def _residual(config: ConfigDict, shape: tuple[int, ...]) -> AutoEncoder:
    settings = config.tokenizer
    quantizer = ResidualQuantizer(
        _codebook(config), settings.depth, settings.shared_codebook, settings.quantizer_dropout
    )
    return _autoencoder(config, shape, quantizer, _reservoir(config))


def _codebook(config: ConfigDict) -> VectorQuantizer:
    """A codebook, and how it is learned."""
    settings = config.tokenizer
    choose("tokenizer.codebook", settings.codebook, dict.fromkeys(LEARNED))
    if settings.restart_below and settings.codebook != "average":
        raise ValueError(
            f"config.tokenizer.restart_below = {settings.restart_below} replaces codes of a moving average, but "
            f"config.tokenizer.codebook = {settings.codebook!r}; use 'average', or 0."
        )
    for key, off in (("grad_accumulation", 1), ("grad_dtype", None)):
        if settings.restart_below and config.training[key] != off:
            raise ValueError(
                f"config.tokenizer.restart_below = {settings.restart_below} looks at whole batches, but "
                f"config.training.{key} = {config.training[key]} splits them; set one of them to its default."
            )
    return VectorQuantizer(
        settings.num_codes, settings.dim, settings.codebook, settings.codebook_decay, settings.restart_below
    )


def _reservoir(config: ConfigDict) -> int | None:
    """The features to which k-means fits codebooks; None without."""
    settings = config.tokenizer
    if settings.codebook_init != "k_means":
        return None
    if settings.reservoir < settings.num_codes:
        raise ValueError(
            f"config.tokenizer.reservoir = {settings.reservoir} features cannot make config.tokenizer.num_codes = "
            f"{settings.num_codes} clusters; use a larger reservoir."
        )
    return settings.reservoir


def _normal(config: ConfigDict, shape: tuple[int, ...]) -> AutoEncoder:
    num_dims = 1
    for side in shape:
        num_dims *= side
    return _autoencoder(config, shape, NormalLatents(config.tokenizer.dim, num_dims), None)


def _components(config: ConfigDict, shape: tuple[int, ...]) -> PrincipalComponents:
    found = PrincipalComponents(shape, config.tokenizer.factor, config.tokenizer.dim)
    if found.dim > found.patch_size:
        raise ValueError(
            f"config.tokenizer.dim = {found.dim}, but a patch of {found.patch_size} values has no more principal "
            "components than that; use fewer, or a larger config.tokenizer.factor."
        )
    return found


def _autoencoder(
    config: ConfigDict, shape: tuple[int, ...], quantizer: Quantizer, reservoir: int | None
) -> AutoEncoder:
    settings, model = config.tokenizer, config.model
    for name in ("encoder", "decoder"):
        choose(f"tokenizer.{name}", settings[name], dict.fromkeys(KINDS))
        if settings[name] == "conv":
            _check_convolutions(name, shape, settings.factor)
        size = settings.factor ** (len(shape) - 1) * shape[-1]
        if settings[name] == "raw" and not size == settings.dim == quantizer.num_outputs:
            raise ValueError(
                f"config.tokenizer.{name} = 'raw' takes the {size} values of a patch as they are, but "
                f"config.tokenizer.dim = {settings.dim} with quantizer = {settings.quantizer!r}; set dim to {size} for "
                "'vq' or 'rvq', or use 'patch'."
            )
    choose("model.nonlinearity", model.nonlinearity, ACTIVATIONS)
    common: dict[str, Any] = {
        "factor": settings.factor,
        "nf": model.nf,
        "num_blocks": settings.num_blocks,
        "nonlinearity": model.nonlinearity,
        "dtype": choose("model.dtype", model.dtype, DTYPES),
    }
    encoder = Encoder(kind=settings.encoder, num_outputs=quantizer.num_outputs, **common)
    decoder = Decoder(kind=settings.decoder, num_channels=shape[-1], **common)
    sides = tuple(side // settings.factor for side in shape[:-1])
    return AutoEncoder(shape, sides, settings.dim, encoder, decoder, quantizer, reservoir)


def _check_convolutions(name: str, shape: tuple[int, ...], factor: int) -> None:
    """Errors: ValueError for vectors, and for a factor that is no power of 2."""
    if len(shape) < 2:
        raise ValueError(
            f"config.tokenizer.{name} = 'conv', but examples are vectors of shape {shape}; use 'patch', which takes a "
            "vector as one patch."
        )
    try:
        halvings(factor)
    except ValueError:
        raise ValueError(
            f"config.tokenizer.factor = {factor}, but config.tokenizer.{name} = 'conv' halves the sides; use a power "
            "of 2, or 'patch'."
        ) from None


TOKENIZERS: dict[str, Callable[[ConfigDict, tuple[int, ...]], Trainable]] = {
    "vq": _vector_quantized,
    "rvq": _residual,
    "kl": _normal,
    "pca": _components,
}


def residual_quantizer(tokenizer: Tokenizer) -> ResidualQuantizer | None:
    """The quantizer of a tokenizer with several tokens for each position; None for any other."""
    quantizer = tokenizer.quantizer if isinstance(tokenizer, AutoEncoder) else None
    return quantizer if isinstance(quantizer, ResidualQuantizer) else None


@dataclasses.dataclass(frozen=True)
class External:
    """A user's own auto-encoder: an object with `encode(x)`, `decode(z)`, `code_shape`, and perhaps `num_codes`."""

    own: Any
    num_codes: int
    code_shape: tuple[int, ...]
    is_bijective: bool = False
    is_uncertain: bool = False

    def encode(self, variables: Variables, x: Array) -> Array:
        """Its latents or tokens of x."""
        return self.own.encode(x)

    def decode(self, variables: Variables, codes: Array) -> Array:
        """Its data of latents or tokens."""
        return self.own.decode(codes)

    def posterior(self, variables: Variables, x: Array) -> Posterior | None:
        """None: its latents are taken as certain."""
        return None


def external_tokenizer(path: str, shape: tuple[int, ...]) -> Tokenizer:
    """What the function `package.module:function`, called without arguments, returns, tried on shapes.

    Errors: ValueError, one sentence, for a path that does not resolve, and for an object whose codes or data have other
    shapes than it says.
    """
    key = "config.tokenizer.external"
    own = import_object(f"{key} =", path, "function")()
    for name in ("encode", "decode", "code_shape"):
        if not hasattr(own, name):
            raise ValueError(
                f"{key} = {path!r} returned a {type(own).__name__} without {name}; return an object with encode, "
                "decode and code_shape."
            )
    found = External(own, getattr(own, "num_codes", 0), tuple(own.code_shape))
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    try:
        codes = jax.eval_shape(own.encode, x)
        back = jax.eval_shape(own.decode, jax.ShapeDtypeStruct(codes.shape, codes.dtype))
    except Exception as error:
        raise ValueError(
            f"{key} = {path!r} cannot be applied to examples of shape {shape} ({' '.join(str(error).split())[:200]}); "
            "write encode and decode in jax.numpy for arrays [B, ...] of that shape."
        ) from error
    if codes.shape[1:] != found.code_shape or back.shape[1:] != shape:
        raise ValueError(
            f"{key} = {path!r} maps examples {shape} to codes {codes.shape[1:]} and back to {back.shape[1:]}, but says "
            f"code_shape = {found.code_shape}; correct it."
        )
    return found


def feature_loss(config: ConfigDict) -> FeatureFn | None:
    """The function that `tokenizer.feature_loss` names, tried on shapes; None without one.

    Errors: ValueError for one that is not of the form that the setting describes.
    """
    path = config.tokenizer.feature_loss
    if path is None:
        return None
    function = import_object("config.tokenizer.feature_loss =", path, "function")
    x = jax.ShapeDtypeStruct((2, *data_shape(config)), jnp.float32)
    try:
        found = jax.eval_shape(function, x)["features"].shape
    except Exception as error:
        raise ValueError(
            f"config.tokenizer.feature_loss = {path!r} cannot be differentiated "
            f"({' '.join(str(error).split())[:200]}); give a function written in jax.numpy that returns "
            "{'features': [B, D]}."
        ) from error
    if len(found) != 2 or found[0] != 2:
        raise ValueError(
            f"config.tokenizer.feature_loss = {path!r} returns features {found} for 2 examples; give [B, D]."
        )
    return function
