"""The causal latent of a config: its graph, its mechanisms, the encoder of its latents, and the labels it follows."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders.shape import data_shape
from configs.conditions import Condition
from core.arrays import Array
from core.tables import nearest
from data.fields import HasFields
from data.source import Source
from data.spec import DataSpec
from models.blocks.causal_latent import CausalLatent, Graph, Intervention
from models.networks.autoencoder import check_sides, halvings
from models.networks.encoder import VectorEncoder
from models.tokenizers.base import Posterior
from training.objectives.base import Batch

LATENT = "z"  # the condition of the network
MOST_EXAMPLES = 20_000  # spread over the data, whose labels say what a standard deviation is, and the range
NUM_AT_ONCE = 1000


class Encoded(NamedTuple):
    """A sample of the latents z [B, n, d] of examples, its distribution, the mean of the noise given the parents."""

    z: Array
    posterior: Posterior
    noise_mean: Array


@dataclasses.dataclass(frozen=True)
class CausalModel:
    """Encoder and causal latent; `params` are those of both, `labels` the collection of `statistics`."""

    graph: Graph
    latent: CausalLatent
    encoder: VectorEncoder
    shape: tuple[int, ...]

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self.graph.names), self.latent.dim

    def init(self, key: Array) -> dict[str, Any]:
        """The parameters at step 0."""
        x, u = jnp.zeros((1, *self.shape)), jnp.zeros((1, *self.latent_shape))
        encoder = self.encoder.init(jax.random.fold_in(key, 1), x)["params"]
        return {"encoder": encoder, "causal": self.latent.init(jax.random.fold_in(key, 2), u)["params"]}

    def posterior(self, params: Any, x: Array) -> Posterior:
        """q(z | x) of examples as the network sees them, independent for each variable."""
        return self.encoder.apply({"params": params["encoder"]}, x)  # type: ignore[return-value]

    def propagate(self, params: Any, u: Array, do: Intervention | None = None) -> Array:
        """z [B, n, d] of noise [B, n, d], with what is done to it."""
        return self.latent.apply({"params": params["causal"]}, u, do)  # type: ignore[return-value]

    def noise(self, params: Any, z: Array) -> Array:
        """The noise [B, n, d] of latents z [B, n, d]: the inverse of `propagate`."""
        found = self.latent.apply({"params": params["causal"]}, z, method=CausalLatent.noise)
        return jnp.asarray(found)

    def noise_std(self, params: Any) -> Array:
        """That of each variable [n]."""
        found = self.latent.apply({"params": params["causal"]}, method=CausalLatent.noise_std)
        return jnp.asarray(found)

    def encode(self, params: Any, x: Array, noise: Array) -> Encoded:
        """z = mean + std noise of q(z | x), for standard normal noise [B, n, d].

        Given its parents, the noise u_i = z_i - f_i(z of parents) of a variable has the standard deviation of z_i, and
        its mean is that of z_i less what the parents make of it.
        """
        q = self.posterior(params, x)
        z = q.mean + q.std * noise
        return Encoded(z, q, self.noise(params, z) - z + q.mean)

    def standardized(self, labels: Mapping[str, Array], batch: Batch) -> tuple[Array, Array]:
        """The labels [B, n] of a batch in units of their standard deviation, and where they are known."""
        values = jnp.stack([jnp.asarray(batch[name], jnp.float32) for name in self.graph.names], axis=1)
        known = jnp.stack(
            [jnp.asarray(batch.get(f"{name}_mask", jnp.ones(len(values)))) > 0 for name in self.graph.names], axis=1
        )
        return (values - labels["mean"][None]) / labels["std"][None], known

    def initial_statistics(self) -> dict[str, Array]:
        """Those of labels that are not known yet."""
        zeros, ones = jnp.zeros(len(self.graph.names)), jnp.ones(len(self.graph.names))
        return {"mean": zeros, "std": ones, "low": zeros, "high": ones}

    def statistics(self, source: Source) -> dict[str, Array]:
        """Mean, standard deviation and range [n] of the labels of training examples.

        Errors: ValueError for a variable that has no label, or always the same.
        """
        rows = np.linspace(0, len(source) - 1, min(len(source), MOST_EXAMPLES)).astype(int)
        parts = [self._labels(source.fetch(part)) for part in np.array_split(rows, -(-len(rows) // NUM_AT_ONCE))]
        found: dict[str, list[float]] = {name: [] for name in self.initial_statistics()}
        for i, name in enumerate(self.graph.names):
            values, known = (np.concatenate([part[k][:, i] for part in parts]) for k in (0, 1))
            given = values[known].astype(np.float64)
            if not len(given) or not given.std() > 0:
                what = "no example of the training data has a value" if not len(given) else f"it is always {given[0]:g}"
                raise ValueError(f"config.causal.variables has {name!r}, but {what}; give other data, or leave it out.")
            of_name = {"mean": given.mean(), "std": given.std(), "low": given.min(), "high": given.max()}
            for key, value in of_name.items():
                found[key].append(value)
        return {key: jnp.asarray(values, jnp.float32) for key, values in found.items()}

    def _labels(self, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        values = np.stack([batch[name] for name in self.graph.names], axis=1)
        known = [batch.get(f"{name}_mask", np.ones(len(values))) > 0 for name in self.graph.names]
        return values, np.stack(known, axis=1)


def make_causal(config: ConfigDict, spec: DataSpec) -> CausalModel:
    """The causal latent that `config.causal` describes. Errors: ValueError, one sentence, for what does not fit."""
    settings = config.causal
    graph, shape = make_graph(settings.variables, settings.graph), data_shape(config)
    _check_fields(config, spec, graph.names)
    if len(shape) > 1:
        if settings.encoder == "conv":
            halvings(settings.encoder_factor)
        if not check_sides(shape[:-1], settings.encoder_factor):
            raise ValueError(
                f"config.causal.encoder_factor = {settings.encoder_factor} does not divide the sides of examples of "
                f"the shape {shape}; use a divisor of them."
            )
    code = (len(graph.names), settings.dim)
    options = (settings.encoder, settings.encoder_factor, settings.encoder_nf, settings.encoder_blocks)
    encoder = VectorEncoder(code, *options)
    latent = CausalLatent(graph, settings.dim, settings.mechanism, settings.mechanism_width)
    return CausalModel(graph, latent, encoder, shape)


def make_graph(variables: Sequence[str], edges: Sequence[str]) -> Graph:
    """The graph of `causal.variables` and `causal.graph`. Errors: ValueError for an unknown variable, and a cycle."""
    names = tuple(variables)
    if not names or len(set(names)) < len(names):
        what = f"has {next(name for name in names if names.count(name) > 1)!r} twice" if names else "is empty"
        raise ValueError(f"config.causal.variables {what}; name fields of the data, each once, such as ('thickness',).")
    parents: dict[str, list[int]] = {name: [] for name in names}
    for edge in edges:
        cause, effect = (part.strip() for part in edge.split("->"))
        for name in (cause, effect):
            if name not in names:
                raise ValueError(
                    f"config.causal.graph has {edge!r}, but {name!r} is none of config.causal.variables, "
                    f"{', '.join(names)} (nearest: {nearest(name, names)})."
                )
        if names.index(cause) in parents[effect]:
            raise ValueError(f"config.causal.graph has {edge!r} twice; leave it once.")
        parents[effect].append(names.index(cause))
    try:
        return Graph(names, tuple(tuple(parents[name]) for name in names))
    except ValueError as error:
        raise ValueError(f"config.causal.graph = {tuple(edges)}: {error}") from None


def with_latent(config: ConfigDict) -> ConfigDict:
    """The config of the network, which is conditioned on the latents of all variables, flattened.

    Errors: ValueError for other conditions.
    """
    if config.model.conditions or config.model.num_labels:
        raise ValueError(
            f"config.system = {config.system!r} conditions the network on the causal latent alone; leave "
            "config.model.conditions empty and config.model.num_labels at 0."
        )
    settings = config.causal
    found = config.copy_and_resolve_references()
    size = len(settings.variables) * settings.dim
    with found.unlocked():
        found.model.conditions = (str(Condition(LATENT, settings.entry, settings.drop_rate, (size,))),)
    return found


def _check_fields(config: ConfigDict, spec: HasFields, names: Sequence[str]) -> None:
    """Errors: ValueError for a variable that is no field with one number per example."""
    having = [name for name, field in spec.fields.items() if _is_number(name, field)]
    for name in names:
        if name not in having:
            kind, advice = "no field", ""
            if name in spec.fields:
                counted = spec.fields[name].num_classes and name != "label"
                kind = "a class" if counted else "a class or an array"
                advice = "write a number with a decimal point, or as floats, even if it is whole; " if counted else ""
            raise ValueError(
                f"config.causal.variables has {name!r}, which is {kind} of {config.data.dataset}; {advice}the fields "
                f"with a number for each example are {', '.join(having) or 'none'}."
            )


def _is_number(name: str, field: Any) -> bool:
    """Whether a field has a number per example: a float, or one of two classes."""
    return name not in ("x", "label") and field.shape == () and (field.dtype == "float32" or field.num_classes == 2)
