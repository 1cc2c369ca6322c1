"""What a network is conditioned on, as one vector: the time, the class label, and the augmentation of the data."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models.blocks import embeddings
from models.blocks.activations import Activation
from models.blocks.convolution import dense


def embed(
    time: Array,
    cond: Mapping[str, Any] | None,
    *,
    nf: int,
    act: Activation,
    embedding_type: str,
    fourier_scale: float,
    conditional: bool,
    num_classes: int,
    augment_dim: int,
    dtype: Any = jnp.float32,
) -> Array | None:
    """The vector [B, 4 nf] that every residual block receives, or None; to be called inside a network's `__call__`.

    time: [B], a noise level, whose logarithm is embedded ("fourier"), or a time label, roughly 0 ... 1000
        ("positional"); not used unless `conditional`.
    cond: None or a dict. `labels`, int [B], is required if `num_classes` > 0. `augment`, [B, augment_dim], is read if
        `augment_dim` > 0; without it there is no augmentation, which is zeros.
    The augmentation enters through a matrix without a bias, initialized to zero; source: Karras et al., NeurIPS 2022,
    appendix F.2. Errors: ValueError for missing labels, or an augmentation of another size.
    """
    temb = None
    if embedding_type == "fourier":
        embedding = embeddings.GaussianFourierProjection(nf, fourier_scale)(jnp.log(time))
    else:
        embedding = embeddings.sinusoidal(time, nf)
    if conditional:
        temb = dense(4 * nf, dtype=dtype)(embedding)
        temb = dense(4 * nf, dtype=dtype)(act(temb))
    if num_classes:
        if cond is None or "labels" not in cond:
            raise ValueError(f"num_classes = {num_classes} needs cond = {{'labels': int [B]}}, got {cond}.")
        class_embedding = nn.Embed(num_classes, 4 * nf, dtype=dtype)(cond["labels"])
        temb = class_embedding if temb is None else temb + class_embedding
    if augment_dim:
        augment = (cond or {}).get("augment", jnp.zeros((time.shape[0], augment_dim)))
        if augment.shape != (time.shape[0], augment_dim):
            raise ValueError(
                f"augment has shape {augment.shape}, but augment_dim = {augment_dim}: give [B, augment_dim]."
            )
        zeros = nn.initializers.zeros
        augment_embedding = nn.Dense(4 * nf, use_bias=False, kernel_init=zeros, dtype=dtype, name="augment")(augment)
        temb = augment_embedding if temb is None else temb + augment_embedding
    return temb
