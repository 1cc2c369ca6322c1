"""What the network of a config is conditioned on, from a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from core.arrays import Array
from core.keys import DropoutKey, fold_in
from training.objectives.base import Batch

Condition = Callable[[Array, Batch, Array | None], Any]  # (x [B, ...], batch, dropout key or None) -> cond


def make_condition(config: ConfigDict) -> Condition:
    """`(x [B, ...], batch, dropout key or None) -> cond`: what a network is conditioned on.

    Class labels are those of `batch["label"]` [B]. "No class" is label number `model.num_labels`: the label of a batch
    without labels, and, given a dropout key, of each example with probability `model.label_dropout`. A network that is
    conditioned on augmentations gets `batch["augment"]` [B, model.augment_dim] if the batch has it.
    """
    no_class, dropout, augmented = config.model.num_labels, config.model.label_dropout, config.model.augment_dim > 0

    def augmentation(batch: Batch) -> dict[str, Array]:
        return {"augment": batch["augment"]} if augmented and "augment" in batch else {}

    if not no_class:
        return lambda x, batch, key: augmentation(batch) or None

    def condition(x: Array, batch: Batch, key: Array | None) -> Any:
        labels = batch.get("label")
        if labels is None:
            labels = jnp.full(x.shape[:1], no_class)
        elif key is not None:
            dropped = jax.random.bernoulli(fold_in(key, DropoutKey.LABELS), dropout, labels.shape)
            labels = jnp.where(dropped, no_class, labels)
        return {"labels": labels, **augmentation(batch)}

    return condition
