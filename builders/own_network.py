"""Networks of a user's own: `model.name` is the import path of a Linen module, an nnx module, or a function."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from builders.condition import embedding
from builders.shape import data_shape
from core.imports import import_object
from sde.base import SDE

MADE_BY_FLAX = ("parent", "name")  # fields of Linen modules that nobody sets


def own_network(path: str) -> tuple[Callable[[ConfigDict, SDE], Any], dict[str, Any]]:
    """(what makes the network `package.module:name` from a config and its SDE or chain, its capabilities).

    It is called with those settings that its parameters name: keys of `config.model`, `shape` of an example,
    `num_channels`, `num_classes` (one more than `num_labels`, for no class), `centered`, `embedding` and `sigmas`. One
    with a parameter `rngs` makes a `flax.nnx` module, any other one of Linen.
    Capabilities are the attribute `capabilities`, a dict of fields of `NetworkEntry`; without it, data of any rank.
    Errors: ValueError for a path that does not resolve, and a parameter without a value.
    """
    found = import_object("config.model.name =", path, "class or function")
    parameters = _parameters(found)
    capabilities = {"ranks": (1, 2, 3, 4), "remat": "remat" in parameters} | getattr(found, "capabilities", {})
    return functools.partial(_made, path, found), capabilities


def check_output(path: str, network: Any, inputs: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    """Errors: ValueError unless a user's own network has parameters only, and an output of `shape`.

    inputs: x [1, ...], time [1] and the condition.
    """
    variables = jax.eval_shape(lambda: network.init({"params": jax.random.key(0)}, *inputs))
    if others := sorted(set(variables) - {"params"}):
        raise ValueError(
            f"config.model.name = {path!r} keeps the collection {others[0]!r} beside its parameters, "
            "which score models do not train; use layers without it."
        )
    output = jax.eval_shape(lambda variables: network.apply(variables, *inputs), variables)
    found = getattr(output, "shape", type(output).__name__)
    if found != shape:
        needed = "a prediction has the shape of x" if shape == inputs[0].shape else f"logits of categories have {shape}"
        raise ValueError(
            f"config.model.name = {path!r} returns {found} for x of shape {inputs[0].shape}, but {needed}; correct the "
            "network."
        )


def _made(path: str, found: Callable[..., Any], config: ConfigDict, process: SDE) -> Any:
    parameters = _parameters(found)
    known = _settings(config, process)
    given = {name: known[name] for name in parameters if name in known and name not in MADE_BY_FLAX}
    for name, parameter in parameters.items():
        optional = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if name not in given and name != "rngs" and not optional:
            raise ValueError(
                f"config.model.name = {path!r} has the parameter {name!r}, which is no setting; give it a default, or "
                f"the name of a key of config.model, or one of {', '.join(sorted(known.keys() - set(config.model)))}."
            )
    if "rngs" in parameters:
        from models.nnx_adapter import NnxNetwork  # flax.nnx takes seconds to import

        return NnxNetwork(functools.partial(found, **given))
    network = found(**given)
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"config.model.name = {path!r} makes a {type(network).__name__}, but a network is a module of flax.linen, "
            "or takes `rngs` and makes one of flax.nnx."
        )
    return network


def _parameters(found: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a function, or of the constructor of a class."""
    if not isinstance(found, type):
        return dict(inspect.signature(found).parameters)
    of_constructor = inspect.signature(found.__init__).parameters  # type: ignore[misc]
    return dict(list(of_constructor.items())[1:])


def _settings(config: ConfigDict, process: SDE) -> dict[str, Any]:
    """What a network may be made from, by name."""
    shape = data_shape(config)
    return {
        **{key: value for key, value in config.model.items() if key not in ("name", "dtype")},
        "shape": shape,
        "num_channels": shape[-1],
        "num_classes": config.model.num_labels + 1 if config.model.num_labels else 0,
        "centered": config.data.centered,
        "embedding": embedding(config),
        "sigmas": tuple(reversed(process.level_stds)) if process.is_discrete else None,
    }
