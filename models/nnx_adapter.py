"""Modules of `flax.nnx` as networks: their parameters, a tree of arrays by name, are kept apart from them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from core.arrays import Array


@dataclasses.dataclass(frozen=True)
class NnxNetwork:
    """A network made by `make(rngs=nnx.Rngs)`, with the methods `init` and `apply` of Linen modules.

    The module is called as `module(x, time, cond)`, or as `module(x, time)` without a condition. In training it is in
    the mode `train()`, otherwise in `eval()`, and dropout takes the key `rngs["dropout"]`. Constants that a module
    draws when it is made, such as frequencies, come from a fixed key. It computes in float32.

    Errors: ValueError for variables beside parameters, such as the statistics of nnx.BatchNorm.
    """

    make: Callable[..., nnx.Module]

    def init(self, rngs: Mapping[str, Array], x: Array, time: Array, cond: Any = None) -> dict[str, Any]:
        """{"params": a nested dict of arrays}; `rngs` has the key "params"."""
        module = self._module(rngs["params"])
        _check(module)
        return {"params": _with_names(nnx.to_pure_dict(nnx.state(module, nnx.Param)))}

    def apply(
        self,
        variables: Mapping[str, Any],
        x: Array,
        time: Array,
        cond: Any = None,
        *,
        train: bool = False,
        rngs: Mapping[str, Array] | None = None,
    ) -> Array:
        """The output for x [B, ...] and time [B]; in training it needs `rngs` with "dropout", if there is dropout."""
        module: Any = self._module(jax.random.key(0), (rngs or {}).get("dropout"))  # compilers drop its own parameters
        params = nnx.state(module, nnx.Param)
        nnx.replace_by_pure_dict(params, nnx.restore_int_paths(variables["params"]))
        nnx.update(module, params)
        if train:
            module.train()
        else:
            module.eval()
        return module(x, time) if cond is None else module(x, time, cond)

    def _module(self, key: Array, dropout_key: Array | None = None) -> nnx.Module:
        return self.make(rngs=nnx.Rngs(key, params=key, dropout=key if dropout_key is None else dropout_key))


def _check(module: nnx.Module) -> None:
    """Errors: ValueError for variables that are neither parameters nor random numbers."""
    known = nnx.Any(nnx.Param, nnx.RngState)
    for path, variable in nnx.to_flat_state(nnx.state(module, nnx.All(nnx.Variable, nnx.Not(known)))):
        raise ValueError(
            f"The network {type(module).__name__} keeps {type(variable).__name__} {'.'.join(map(str, path))} beside "
            "its parameters, which score models do not train; use layers without running statistics, such as "
            "nnx.GroupNorm."
        )


def _with_names(tree: Any) -> Any:
    """The tree with texts instead of the numbers of layers in lists, as checkpoints need them."""
    return {str(key): _with_names(value) for key, value in tree.items()} if isinstance(tree, dict) else tree
