"""What the network of a config is conditioned on: class labels, augmentations, and further fields of the data."""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders.shape import data_shape
from configs.conditions import ENTRIES, Condition, parse
from core.arrays import Array
from core.keys import DropoutKey, fold_in
from core.tables import choose
from data.fields import HasFields
from models.blocks.conditioning import EMBEDDINGS, Embedding, Given, Signal
from training.objectives.base import Batch

ConditionOf = Callable[[Array, Batch, Array | None], Any]  # (x [B, ...], batch, dropout key or None) -> cond
TAKES = {
    "add": "a number, a class or a vector",
    "norm": "a number, a class or a vector",
    "concat": "an array with as many axes as the data",
    "cross": "a sequence (L, D), or a sequence (L,) of integers",
}
RESERVED = {
    "x": "it is what is modeled",
    "label": "use model.num_labels",
    "labels": "use model.num_labels",
    "augment": "use model.augment_dim",
    "interval": "use model.second_time",
}


def make_condition(config: ConfigDict) -> ConditionOf:
    """`(x [B, ...], batch, dropout key or None) -> cond`: what a network is conditioned on.

    Class labels are those of `batch["label"]` [B]. "No class" is label number `model.num_labels`: the label of a batch
    without labels, and, given a dropout key, of each example with probability `model.label_dropout`. A network that is
    conditioned on augmentations gets `batch["augment"]` [B, model.augment_dim] if the batch has it.
    Each of `model.conditions` is a `Given`: in a batch without the field, and, given a dropout key, for each example
    with the drop rate of the condition, it is not given.
    """
    no_class, dropout, augmented = config.model.num_labels, config.model.label_dropout, config.model.augment_dim > 0
    others = conditions(config)

    def labels_of(x: Array, batch: Batch, key: Array | None) -> Array:
        labels = batch.get("label")
        if labels is None:
            return jnp.full(x.shape[:1], no_class)
        if key is None:
            return labels
        dropped = jax.random.bernoulli(fold_in(key, DropoutKey.LABELS), dropout, labels.shape)
        return jnp.where(dropped, no_class, labels)

    def condition(x: Array, batch: Batch, key: Array | None) -> Any:
        cond: dict[str, Any] = {"labels": labels_of(x, batch, key)} if no_class else {}
        if augmented and "augment" in batch:
            cond["augment"] = batch["augment"]
        return cond | {other.name: _given(other, len(x), batch, key) for other in others} or None

    return condition


def example_condition(config: ConfigDict) -> Any:
    """The condition of one example, for the initialization of a network."""
    labels = {"labels": np.zeros((1,), np.int32)} if config.model.num_labels else {}
    return labels | {c.name: Given(_zeros(c, 1), np.ones((1,), bool)) for c in conditions(config)} or None


def embedding(config: ConfigDict) -> Embedding:
    """How the network embeds the time and what else it is conditioned on. Errors: ValueError for an unknown kind."""
    model = config.model
    choose("model.embedding_type", model.embedding_type, dict.fromkeys(EMBEDDINGS))
    return Embedding(
        kind=model.embedding_type,
        fourier_scale=model.fourier_scale,
        conditional=model.conditional,
        num_classes=model.num_labels + 1 if model.num_labels else 0,  # the last one: no class
        augment_dim=model.augment_dim,
        second_time=model.second_time,
        max_frequency=model.max_frequency,
        signals=tuple(Signal(c.name, c.entry, c.num_values if _is_class(c) else 0) for c in conditions(config)),
    )


def conditions(config: ConfigDict) -> tuple[Condition, ...]:
    """Those of `model.conditions`.

    Errors: ValueError for a name that is used twice or for something else, and a shape that is not known or that
    cannot enter in this way.
    """
    found = tuple(parse(text) for text in config.model.conditions)
    for c in found:
        if c.name in RESERVED:
            raise ValueError(f"config.model.conditions has {c.name!r}, but {RESERVED[c.name]}; leave it out.")
        if sum(other.name == c.name for other in found) > 1:
            raise ValueError(f"config.model.conditions has {c.name!r} twice, but a field enters in one way; leave one.")
        _check_shape(c, data_shape(config))
    return found


def is_resolved(config: ConfigDict) -> bool:
    """Whether the shapes of all conditions are known."""
    return all(parse(text).shape is not None for text in config.model.conditions)


def resolved(config: ConfigDict, data: HasFields) -> tuple[str, ...]:
    """`model.conditions` with the shapes of the fields of the data, by which the network can be made without them.

    Errors: ValueError for a field that the data do not have, or whose shape or values are others than those written.
    """
    found = []
    for text in config.model.conditions:
        given = parse(text)
        if given.name not in data.fields:
            others = ", ".join(name for name in data.fields if name not in RESERVED) or "no further fields"
            raise ValueError(
                f"config.model.conditions has {text!r}, but {config.data.dataset} has {others}; "
                "name one of its fields, or leave the condition out."
            )
        field = data.fields[given.name]
        whole = given._replace(shape=tuple(field.shape), num_values=field.num_classes or field.num_levels)
        if given.shape is not None and given != whole:
            raise ValueError(
                f"config.model.conditions has {text!r}, but the field of {config.data.dataset} is {str(whole)!r}; "
                f"write {given.name}:{given.entry}, which takes what the data have."
            )
        found.append(str(whole))
    return tuple(found)


def _given(c: Condition, B: int, batch: Batch, key: Array | None) -> Given:
    """The values of a field, integers that are not classes scaled to [0, 1], and where they are given."""
    values = batch.get(c.name)
    if values is None:
        return Given(_zeros(c, B), jnp.zeros((B,), bool))
    if not _is_class(c):
        values = jnp.asarray(values, jnp.float32) / max(1, c.num_values - 1)
    given = jnp.ones((B,), bool)
    if key is not None and c.drop_rate:
        address = fold_in(fold_in(key, DropoutKey.SIGNALS), zlib.crc32(c.name.encode()))
        given = ~jax.random.bernoulli(address, c.drop_rate, (B,))
    return Given(values, given)


def _zeros(c: Condition, B: int) -> np.ndarray:
    """Values of the shape and type of a field."""
    assert c.shape is not None  # see `conditions`
    return np.zeros((B, *c.shape), np.int32 if _is_class(c) else np.float32)


def _is_class(c: Condition) -> bool:
    """Whether the values are rows of a table: one integer per example, or integers to attend to, such as text."""
    return c.num_values > 0 and c.shape is not None and len(c.shape) == (1 if c.entry == "cross" else 0)


def _check_shape(c: Condition, data: tuple[int, ...]) -> None:
    """Errors: ValueError for a field that cannot enter in its way, or whose shape is not known."""
    if c.shape is None:
        raise ValueError(
            f"config.model.conditions has {str(c)!r}, a field whose shape is not known before the data are read; write "
            f"it, as in '{c.name}[40]:{c.entry}' for 40 floats or '{c.name}[]/10:{c.entry}' for one of 10 classes."
        )
    fitting = [entry for entry in ENTRIES if _fits(c._replace(entry=entry), len(data))]
    if c.entry not in fitting:
        raise ValueError(
            f"config.model.conditions has {str(c)!r}, but {c.entry} takes {TAKES[c.entry]}, and the shape of the field "
            f"is {c.shape}; " + (f"use {' or '.join(fitting)} for it." if fitting else "leave it out.")
        )


def _fits(c: Condition, data_rank: int) -> bool:
    """Whether a field of its shape can enter in its way."""
    assert c.shape is not None
    rank = len(c.shape)
    if c.entry == "cross":
        return rank >= 2 or _is_class(c)
    return rank == data_rank if c.entry == "concat" else rank <= 1
