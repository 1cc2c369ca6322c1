"""What a network is conditioned on: the time, class labels, augmentations, and any named signals.

Called inside a network's `__call__`: the layers belong to the network, under the names that its checkpoints have.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array, broadcast_to_rank
from models import interface
from models.blocks import embeddings
from models.blocks.activations import Activation
from models.blocks.convolution import dense, over_space, spatial_rank

Entry = Literal["add", "norm", "concat", "cross"]
ENTRIES: tuple[Entry, ...] = ("add", "norm", "concat", "cross")
EMBEDDINGS = ("fourier", "positional")
ZEROS = nn.initializers.zeros
INTERVAL_SCALE = 10.0  # of intervals, in [0, 1], to the labels of their sinusoidal embedding


@dataclasses.dataclass(frozen=True)
class Signal:
    """A further array `cond[name]` that a network is conditioned on, and where it enters.

    add: vectors [B, D] or classes [B], added to the embedding of time.
    norm: the same, as scale and shift of the second normalization of every residual block.
    concat: a grid [B, ..., C] of the rank of x, as channels of its input, after linear interpolation to its size.
    cross: a sequence [B, L, D], or classes [B, L], to which the pixels attend after every self-attention.

    num_classes: the values are integers below it; 0: floats. The layers start such that the signal has no effect, and a
    signal that is not given never has one: the output is that of the network without it.
    """

    name: str
    entry: Entry
    num_classes: int = 0


class Given(NamedTuple):
    """The values [B, ...] of a signal, and for which examples it is given, bool [B]."""

    values: Array | np.ndarray
    given: Array | np.ndarray


class Tokens(NamedTuple):
    """Vectors [B, L, D] to attend to, and which of them there are, bool [B, L]."""

    vectors: Array
    given: Array


class Conditions(NamedTuple):
    """What blocks receive: `temb` [B, 4 nf] to add, `modulation` [B, 4 nf] for normalizations, and tokens."""

    temb: Array | None = None
    modulation: Array | None = None
    tokens: Tokens | None = None


@dataclasses.dataclass(frozen=True)
class Embedding:
    """How a network embeds what it is conditioned on.

    kind: "fourier", of the logarithm of a noise level `time` [B], with frequencies of standard deviation
        `fourier_scale`; or "positional", of a time label, roughly 0 ... 1000. Not used unless `conditional` on time.
    num_classes: if positive, `cond["labels"]`, int [B], is required.
    augment_dim: if positive, `cond["augment"]` [B, augment_dim] is read; without it there is no augmentation, which is
        zeros. It enters through a matrix without a bias, initialized to zero; source: Karras et al., NeurIPS 2022,
        appendix F.2.
    signals: further arrays, each given as `cond[name]`, a `Given`.
    second_time: whether `cond["interval"]` [B], from a second time up to the first, in [0, 1], is read. It enters by
        layers that start at zero, and an interval of zero never has an effect, nor one that is not given.
    max_frequency: of the positional embedding, in radians per unit of its label; see `embeddings.sinusoidal`.
    """

    kind: str = "positional"
    fourier_scale: float = 16.0
    conditional: bool = True
    num_classes: int = 0
    augment_dim: int = 0
    signals: tuple[Signal, ...] = ()
    second_time: bool = False
    max_frequency: float = 1.0

    @property
    def takes_sigma(self) -> bool:
        """Whether the time is a noise level."""
        return self.kind == "fourier"

    def __call__(
        self,
        time: Array,
        cond: Mapping[str, Any] | None,
        *,
        nf: int,
        act: Activation,
        dtype: Any = jnp.float32,
        num_frequencies: int | None = None,
    ) -> Conditions:
        """The vectors of width 4 nf that blocks receive; `num_frequencies`: of the time, by default nf.

        Errors: ValueError for an unknown kind, missing labels or signals, or an augmentation of another size.
        """
        interface.check_choice("embedding_type", self.kind, EMBEDDINGS)
        width = 4 * nf
        terms = self._time(time, nf, num_frequencies or nf, act, dtype) + self._labels(cond, width, dtype)
        terms += self._augmentation(cond, len(time), width, dtype) + self._encoded("add", cond, width, dtype)
        terms += self._interval(cond, time, width, act, dtype)
        modulation = self._encoded("norm", cond, width, dtype)
        return Conditions(_total(terms), _total(modulation), self._tokens(cond, width, dtype))

    def concatenate(self, h: Array, cond: Mapping[str, Any] | None) -> Array:
        """h [B, ..., D], a linear function W x of the input, with the grids s as more channels: W_x x + W_s s."""
        for signal in self._entering("concat"):
            values, given = _values(cond, signal)
            grid = jax.image.resize(values, (*h.shape[:-1], values.shape[-1]), "linear") if h.ndim > 2 else values
            kernel: dict[str, Any] = {"kernel_init": ZEROS, "dtype": h.dtype, "name": _name(signal)}
            size = (3,) * spatial_rank(h)
            layer = nn.Conv(h.shape[-1], size, **kernel) if size else nn.Dense(h.shape[-1], **kernel)
            h = h + _where(given, layer(grid))
        return h

    def _entering(self, entry: Entry) -> list[Signal]:
        return [signal for signal in self.signals if signal.entry == entry]

    def _time(self, time: Array, nf: int, num: int, act: Activation, dtype: Any) -> list[Array]:
        if self.takes_sigma:
            embedding = embeddings.GaussianFourierProjection(num, self.fourier_scale)(jnp.log(time))
        else:
            embedding = embeddings.sinusoidal(time, num, max_frequency=self.max_frequency)
        if not self.conditional:
            return []
        temb = dense(4 * nf, dtype=dtype)(embedding)
        return [dense(4 * nf, dtype=dtype)(act(temb))]

    def _interval(
        self, cond: Mapping[str, Any] | None, time: Array, width: int, act: Activation, dtype: Any
    ) -> list[Array]:
        """W_2 act(W_1 (e(s) - e(0))) of the interval s; activations are zero at zero."""
        if not self.second_time:
            return []
        interval = (cond or {}).get("interval", jnp.zeros(time.shape))
        labels = jnp.stack([INTERVAL_SCALE * interval, jnp.zeros_like(interval)])
        e, origin = jax.vmap(lambda label: embeddings.sinusoidal(label, width))(labels)
        h = nn.Dense(width, use_bias=False, dtype=dtype, name="interval")(e - origin)
        return [nn.Dense(width, use_bias=False, kernel_init=ZEROS, dtype=dtype, name="interval_out")(act(h))]

    def _labels(self, cond: Mapping[str, Any] | None, width: int, dtype: Any) -> list[Array]:
        if not self.num_classes:
            return []
        if cond is None or "labels" not in cond:
            raise ValueError(f"num_classes = {self.num_classes} needs cond = {{'labels': int [B]}}, got {cond}.")
        return [nn.Embed(self.num_classes, width, dtype=dtype)(cond["labels"])]

    def _augmentation(self, cond: Mapping[str, Any] | None, B: int, width: int, dtype: Any) -> list[Array]:
        if not self.augment_dim:
            return []
        augment = (cond or {}).get("augment", jnp.zeros((B, self.augment_dim)))
        if augment.shape != (B, self.augment_dim):
            raise ValueError(
                f"augment has shape {augment.shape}, but augment_dim = {self.augment_dim}: give [B, augment_dim]."
            )
        return [nn.Dense(width, use_bias=False, kernel_init=ZEROS, dtype=dtype, name="augment")(augment)]

    def _encoded(self, entry: Entry, cond: Mapping[str, Any] | None, width: int, dtype: Any) -> list[Array]:
        """A vector [B, width] for each signal; those that are added start at zero."""
        start = {"add": ZEROS}.get(entry, nn.initializers.lecun_normal())
        encoded = []
        for signal in self._entering(entry):
            values, given = _values(cond, signal)
            rows = values if signal.num_classes else values.reshape(len(values), -1)
            encoded.append(_where(given, _layer(signal, width, start, dtype)(rows)))
        return encoded

    def _tokens(self, cond: Mapping[str, Any] | None, width: int, dtype: Any) -> Tokens | None:
        """The tokens of all sequences, each with the embedding of its position."""
        found = []
        for signal in self._entering("cross"):
            values, given = _values(cond, signal)
            rows = values if signal.num_classes else values.reshape(len(values), -1, values.shape[-1])
            vectors = _layer(signal, width, nn.initializers.lecun_normal(), dtype)(rows)
            positions = embeddings.sinusoidal(jnp.arange(rows.shape[1]), width).astype(vectors.dtype)
            vectors = vectors + positions[None]
            found.append(Tokens(vectors, jnp.broadcast_to(given[:, None], rows.shape[:2])))
        return Tokens(*(jnp.concatenate(part, axis=1) for part in zip(*found, strict=True))) if found else None


def modulate(h: Array, modulation: Array | None, act: Activation, dtype: Any, name: str = "modulation") -> Array:
    """(1 + scale) h + shift per channel of the normalized h [B, ..., C]; scale, shift = W act(modulation).

    W starts at zero and has no bias. Source: Dhariwal and Nichol, NeurIPS 2021, section 3.1 ("adaptive group norm").
    """
    if modulation is None:
        return h
    layer = nn.Dense(2 * h.shape[-1], use_bias=False, kernel_init=ZEROS, dtype=dtype, name=name)
    scale, shift = jnp.split(layer(act(modulation)), 2, axis=-1)
    return h * (1 + over_space(scale, h)) + over_space(shift, h)


def _name(signal: Signal) -> str:
    return f"signal_{signal.name}"


def _layer(signal: Signal, width: int, start: Any, dtype: Any) -> nn.Module:
    """From the values of a signal to vectors of a width: a row of a table, or a dense layer."""
    if signal.num_classes:
        return nn.Embed(signal.num_classes, width, embedding_init=start, dtype=dtype, name=_name(signal))
    return nn.Dense(width, kernel_init=start, dtype=dtype, name=_name(signal))


def _values(cond: Mapping[str, Any] | None, signal: Signal) -> tuple[Array, Array]:
    if cond is None or signal.name not in cond:
        raise ValueError(f"The network is conditioned on {signal.name!r}, which cond = {cond} does not have.")
    values, given = cond[signal.name]
    return jnp.asarray(values), jnp.asarray(given)


def _where(given: Array, x: Array) -> Array:
    """x [B, ...] where the signal is given, and exact zeros elsewhere."""
    return jnp.where(broadcast_to_rank(given, x), x, jnp.zeros((), x.dtype))


def _total(terms: list[Array]) -> Array | None:
    """The sum, from left to right; None of nothing."""
    total = None
    for term in terms:
        total = term if total is None else total + term
    return total
