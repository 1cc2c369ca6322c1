"""A network for the tests of programs: a perceptron on the entries of an example of any rank, compiled in a moment."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from builders import network
from builders.condition import embedding
from core.arrays import Array
from models.blocks.conditioning import Embedding
from models.networks.mlp import MLP
from sde.base import SDE

NAME, CLASSIFIER = "perceptron", "perceptron_classifier"


class Perceptron(nn.Module):
    """`MLP` on examples [B, ...] as vectors; the fields are those of `MLP`."""

    nf: int
    num_res_blocks: int
    dropout: float = 0.0
    embedding: Embedding = Embedding()
    init_scale: float = 0.0
    centered: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        vectors = x.reshape(len(x), -1)
        names = [name for name in self.__dataclass_fields__ if name not in ("parent", "name")]
        mlp = MLP(**{name: getattr(self, name) for name in names}, num_channels=vectors.shape[1])
        return mlp(vectors, time, cond, train=train).reshape(x.shape)


class Classifier(nn.Module):
    """Logits of classes [B, K] of examples [B, ...], by one hidden layer."""

    nf: int
    num_labels: int

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Any = None, *, train: bool = False, features: bool = False) -> Any:
        vectors = jnp.concatenate([x.reshape(len(x), -1), jnp.log(time)[:, None]], axis=-1)
        hidden = nn.relu(nn.Dense(self.nf)(vectors))
        logits = nn.Dense(self.num_labels)(hidden)
        return {"features": hidden, "logits": logits} if features else logits


def make(config: ConfigDict, process: SDE) -> Perceptron:
    """The network of a config, as `builders.network` makes others."""
    model = config.model
    return Perceptron(
        nf=model.nf,
        num_res_blocks=model.num_res_blocks,
        dropout=model.dropout,
        embedding=dataclasses.replace(embedding(config), kind="positional"),  # for every SDE and chain
        init_scale=model.init_scale,
        centered=config.data.centered,
    )


def register(patch: pytest.MonkeyPatch) -> None:
    """Adds the networks to the table: a config asks for them by `model.name = NAME` or `CLASSIFIER`."""
    entry = network.NetworkEntry(
        make, (1, 2, 3, 4), classes=True, augmentation=True, signals=("add", "norm"), second_time=True, remat=False
    )
    patch.setitem(network.NETWORKS, NAME, entry)
    make_classifier = lambda config, process: Classifier(config.model.nf, config.model.num_labels)  # noqa: E731
    row = network.NetworkEntry(make_classifier, (1, 2, 3, 4), classes=True, remat=False, is_classifier=True)
    patch.setitem(network.NETWORKS, CLASSIFIER, row)
