"""What a network is told beside its data, as one vector: the time, the class, how the data were augmented."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models.blocks import embeddings, layers


def embed(
    time: Array,
    cond: Mapping[str, Any] | None,
    *,
    nf: int,
    act: layers.Activation,
    embedding_type: str,
    fourier_scale: float,
    conditional: bool,
    num_classes: int,
    augment_dim: int,
    dtype: Any = jnp.float32,
) -> Array | None:
    """The vector [B, 4 nf] that every residual block receives, or None; to be called inside a network's `__call__`.

    time: [B], a noise level of which the logarithm is embedded ("fourier"), or a label of the order of 0 ... 1000
        ("positional"); not used unless `conditional`.
    cond: None or a dict. `labels`, int [B], is needed if `num_classes` > 0. `augment`, [B, augment_dim], is read if
        `augment_dim` > 0 and stands for zeros where it is not there, which is what no augmentation is.
    The augmentation enters by a matrix without a bias that starts at zero. Source of that: Karras et al., NeurIPS 2022,
    appendix F.2. Errors: ValueError for labels that are not there, or an augmentation of another size.
    """
    temb = None
    if embedding_type == "fourier":
        embedding = embeddings.GaussianFourierProjection(nf, fourier_scale)(jnp.log(time))
    else:
        embedding = embeddings.sinusoidal(time, nf)
    if conditional:
        temb = layers.dense(4 * nf, dtype=dtype)(embedding)
        temb = layers.dense(4 * nf, dtype=dtype)(act(temb))
    if num_classes:
        if cond is None or "labels" not in cond:
            raise ValueError(f"num_classes = {num_classes} needs cond = {{'labels': int [B]}}, got {cond}.")
        of_class = nn.Embed(num_classes, 4 * nf, dtype=dtype)(cond["labels"])
        temb = of_class if temb is None else temb + of_class
    if augment_dim:
        augment = (cond or {}).get("augment", jnp.zeros((time.shape[0], augment_dim)))
        if augment.shape != (time.shape[0], augment_dim):
            raise ValueError(
                f"augment has shape {augment.shape}, but augment_dim = {augment_dim}: give [B, augment_dim]."
            )
        zeros = nn.initializers.zeros
        of_augment = nn.Dense(4 * nf, use_bias=False, kernel_init=zeros, dtype=dtype, name="augment")(augment)
        temb = of_augment if temb is None else temb + of_augment
    return temb
