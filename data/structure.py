"""What is known of a data set that is made by a structural causal model: how to measure it, and its counterfactuals."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

Values = Mapping[str, np.ndarray]  # by the name of a field, [N, ...]


@dataclasses.dataclass(frozen=True)
class Structure:
    """The truth about the scalar fields of a data set.

    edges: (cause, effect), names of fields. nuisances: fields that no variable affects.
    measure: `x [N, ...] -> {field: [N]}`, variables and nuisances measured from the values of the data alone.
    counterfactual: `(fields [N] of examples, {variable: value [N]}) -> fields` with "x": the same examples, of the same
        noise, where these variables have these values.
    """

    edges: tuple[tuple[str, str], ...]
    nuisances: tuple[str, ...]
    measure: Callable[[np.ndarray], dict[str, np.ndarray]]
    counterfactual: Callable[[Values, Values], dict[str, np.ndarray]]
