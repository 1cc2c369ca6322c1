"""The published PyTorch checkpoints: model, optimizer and averaged parameters of a .pth, in our names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from interop.base import Adam, CheckpointFormatError, Flat, Imported, Tree, fit_part, flatten, integer, settings
from interop.names import torch_names

KIND = "published PyTorch checkpoint"
_PARTS = {"optimizer": dict, "model": dict, "ema": dict}


def convert(contents: Any, like: Tree, order: Sequence[str]) -> Imported:
    """The contents of a .pth (see torch_pickle.read), for a network with parameters `like` and modules in `order`.

    A dict of `model` (tensors by name), `ema` {`shadow_params`: in the order of the parameters, without those that are
    not trained, `decay`}, `optimizer` (Adam's state by the index of the parameter) and `step` (number of updates). The
    order of the parameters is that of `model`. The Fourier frequencies, which are neither averaged nor trained, are
    taken from `model`, with zero moments. Errors: CheckpointFormatError.
    """
    if not isinstance(contents, dict) or any(not isinstance(contents.get(k), kind) for k, kind in _PARTS.items()):
        found = ", ".join(str(key)[:20] for key in list(contents)[:6]) if isinstance(contents, dict) else "no dict"
        raise CheckpointFormatError(
            f"is not a training state: it must be a dict with {', '.join(_PARTS)} and step, but has "
            f"{found or 'nothing'}."
        )
    if not any(str(key).removeprefix(torch_names.PREFIX).startswith("all_modules.") for key in contents["model"]):
        raise CheckpointFormatError(
            "contains a network other than NCSN++, DDPM++ and DDPM, the only ones that can be imported."
        )
    theirs = torch_names.torch_names(flatten(like), order)
    params = _model(contents["model"], theirs)
    fit_part("the parameters", params, like, theirs)  # before anything is identified by its position
    trained = [name for name in params if torch_names.is_trained(name)]
    frozen = {name: value for name, value in params.items() if name not in trained}
    shadow = contents["ema"].get("shadow_params")
    if not isinstance(shadow, list) or len(shadow) != len(trained):
        num = len(shadow) if isinstance(shadow, list) else "no"
        raise CheckpointFormatError(
            f"has {num} averaged tensors in ema/shadow_params, but its model has {len(trained)} trained ones."
        )
    return Imported(
        KIND,
        integer("step", contents.get("step")),
        params,
        frozen | _ours(dict(zip(trained, shadow, strict=True))),
        _adam(contents["optimizer"], params, trained),
        _settings(contents),
    )


def _model(model: Mapping[Any, Any], theirs: Mapping[str, str]) -> Flat:
    """The parameters in the order of the file; a tensor that the network does not have keeps its PyTorch name."""
    ours = {name: our_name for our_name, name in theirs.items()}
    params = {}
    for key, value in model.items():
        name = str(key).removeprefix(torch_names.PREFIX)
        if name not in torch_names.BUFFERS:
            params[ours.get(name, name)] = value
    return _ours(params)


def _ours(tensors: Mapping[str, Any]) -> Flat:
    return {
        n: torch_names.to_ours(n, value) if isinstance(value, np.ndarray) else value for n, value in tensors.items()
    }


def _groups(optimizer: Mapping[str, Any]) -> list[dict[str, Any]]:
    groups = optimizer.get("param_groups")
    if not isinstance(groups, list) or not all(
        isinstance(g, dict) and isinstance(g.get("params"), list) for g in groups
    ):
        raise CheckpointFormatError("has an optimizer without param_groups, each with its list of params.")
    return groups


def _adam(optimizer: Mapping[str, Any], params: Flat, trained: Sequence[str]) -> Adam | None:
    """Adam's moments; None before the first step."""
    states = optimizer.get("state")
    if not isinstance(states, dict) or not states:
        return None
    ids = [key for group in _groups(optimizer) for key in group["params"]]
    if len(ids) not in (len(params), len(trained)):
        raise CheckpointFormatError(f"has an optimizer of {len(ids)} tensors, but a model of {len(params)}.")
    key_of = dict(zip(params if len(ids) == len(params) else trained, ids, strict=True))
    of_name: dict[str, Any] = {n: states.get(key_of[n]) if isinstance(key_of[n], int) else None for n in trained}
    for name, state in of_name.items():
        if not isinstance(state, dict) or not {"step", "exp_avg", "exp_avg_sq"} <= state.keys():
            raise CheckpointFormatError(f"has an optimizer without Adam's step, exp_avg and exp_avg_sq for {name}.")
    counts = {integer("optimizer/state/step", state["step"]) for state in of_name.values()}
    if len(counts) != 1:
        raise CheckpointFormatError(f"has an optimizer whose tensors differ in their number of steps: {counts}.")
    zeros = {name: np.zeros_like(value) for name, value in params.items() if name not in of_name}
    return Adam(
        counts.pop(),
        zeros | _ours({name: state["exp_avg"] for name, state in of_name.items()}),
        zeros | _ours({name: state["exp_avg_sq"] for name, state in of_name.items()}),
    )


def _settings(contents: Mapping[str, Any]) -> dict[str, float]:
    found = {"model.ema_rate": contents["ema"].get("decay")}
    for group in _groups(contents["optimizer"])[:1]:
        found |= {f"optim.{key}": group.get(key) for key in ("lr", "eps", "weight_decay")}
        betas = group.get("betas")
        if isinstance(betas, tuple | list) and len(betas) == 2:
            found |= {"optim.beta1": betas[0], "optim.beta2": betas[1]}
    return settings(found)
