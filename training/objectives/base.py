"""What an objective returns, and how the training loss is made of it: named losses with weights, metrics, collections.

Variables are a dict of collections, as in Flax: "params", which the optimizer changes; "frozen", the networks of
earlier stages; all others hold what the objective itself changes, such as a codebook's running counts.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp

from core.arrays import Array
from core.keys import StepKey, fold_in, keys_at
from core.tables import nearest

Params = Any
Variables = dict[str, Any]
Batch = dict[str, Any]
Metrics = dict[str, Array]
Prepare = Callable[[Array, Batch], Array]  # (keys [B], batch as loaded) -> x0 [B, ...] in the model's units
Weight = Callable[[Array], Array | float]  # step -> weight
Aux = tuple[Metrics, Variables]  # metrics, and the collections that changed
LossFn = Callable[[Variables, Array, Batch, Array], tuple[Array, Aux]]  # (variables, key, batch, step) -> (loss, aux)

ROW = "row"  # for a part of a batch: the indices [b] of its rows in the batch
RESERVED = ("loss", "grad_norm", "learning_rate", "skipped", "index", "counted")  # names that terms cannot have
UNWEIGHTED: Mapping[str, Weight] = MappingProxyType({})


class Terms(NamedTuple):
    """What an objective returns for a batch.

    losses: by name, each [B]; the training loss is `sum_k weight_k(step) mean(losses_k)`.
    metrics: numbers to log; the mean is logged over the parts of a batch and the steps between two lines.
    collections: those of the variables that changed, whole; None for none. They are not differentiated.
    """

    losses: dict[str, Array]
    metrics: Metrics | None = None
    collections: Variables | None = None


class Objective(Protocol):
    """The loss of a kind of model.

    `keys` [B]: one per example. `dropout_key`: for the whole batch; None outside of training. `step`, int32: the steps
    taken so far, for schedules.
    """

    def __call__(
        self, variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array
    ) -> Terms:
        """The terms of a batch."""
        ...


def constant(value: float) -> Weight:
    """The same weight at every step."""
    return lambda step: value


def ramp(start: float, end: float, first: int, last: int) -> Weight:
    """`start` up to step `first`, `end` from step `last` on, and linear in between."""
    return lambda step: start + (end - start) * jnp.clip((step - first) / (last - first), 0.0, 1.0)


def weighted(losses: Mapping[str, Array], weights: Mapping[str, Weight], step: Array) -> Array:
    """`sum_k weight_k(step) losses_k`; a loss without a weight has weight 1.

    Errors: ValueError for the weight of a loss that does not exist.
    """
    for name in weights:
        if name not in losses:
            raise ValueError(
                f"config.training.loss_weights weights {name!r}, but the losses are {', '.join(sorted(losses))} "
                f"(nearest: {nearest(name, losses)})."
            )
    terms = [weights[name](step) * value if name in weights else value for name, value in losses.items()]
    return sum(terms[1:], start=terms[0])


def by_term(total: Array, losses: Mapping[str, Array], name: str) -> dict[str, Array]:
    """`{name: total}`, and where there are several losses, each of them, unweighted, as `name/<its name>`."""
    return {name: total} | ({f"{name}/{term}": value for term, value in losses.items()} if len(losses) > 1 else {})


def make_loss_fn(objective: Objective, weights: Mapping[str, Weight] = UNWEIGHTED) -> LossFn:
    """The loss of a batch, with dropout: all that the trainer knows. Example i uses
    `fold_in(fold_in(key, StepKey.EXAMPLES), i)`.

    Metrics: `loss`; where it has several terms, the mean of each as `loss/<name>`; and those of the objective. For a
    part of a batch, `batch[ROW]` has the indices i of its examples, and the first one is folded into the dropout key,
    so that parts have different dropout.
    """

    def loss_fn(variables: Variables, key: Array, batch: Batch, step: Array) -> tuple[Array, Aux]:
        rows, dropout_key = jnp.arange(batch["x"].shape[0]), fold_in(key, StepKey.DROPOUT)
        if ROW in batch:
            rows, dropout_key = batch[ROW], fold_in(dropout_key, batch[ROW][0])
        batch = {name: values for name, values in batch.items() if name != ROW}
        terms = objective(variables, keys_at(fold_in(key, StepKey.EXAMPLES), rows), batch, dropout_key, step)
        check_terms(terms, variables, len(rows))
        means = {name: jnp.mean(values) for name, values in terms.losses.items()}
        loss = weighted(means, weights, step)
        return loss, ({**by_term(loss, means, "loss"), **(terms.metrics or {})}, terms.collections or {})

    return loss_fn


def check_terms(terms: Terms, variables: Variables, size: int) -> None:
    """Errors: ValueError unless losses are [size], metrics scalar, names free, and collections those of `variables`."""
    if not terms.losses:
        raise ValueError("The objective returned no loss; return one for each example, such as {'loss_of_x': [B]}.")
    for name, values in terms.losses.items():
        if values.shape != (size,):
            raise ValueError(f"The loss {name!r} has the shape {values.shape}; return one for each of {size} examples.")
    for name, value in (terms.metrics or {}).items():
        if jnp.shape(value):
            raise ValueError(f"The metric {name!r} has the shape {jnp.shape(value)}; return one number.")
    several = set(terms.losses) if len(terms.losses) > 1 else set()
    for name in sorted((several | set(terms.metrics or {})) & set(RESERVED)):
        raise ValueError(f"The objective calls a loss or metric {name!r}, which the trainer itself logs; rename it.")
    changeable = set(variables) - {"params", "frozen"}
    for name in sorted(set(terms.collections or {}) - changeable):
        raise ValueError(
            f"The objective changed the collection {name!r}, but those of the state are "
            f"{', '.join(sorted(changeable)) or 'none'}; let the system's init return it."
        )
