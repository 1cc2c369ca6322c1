"""The published Flax checkpoints: the training state as one msgpack map, with our names."""

import pathlib
from typing import Any

import msgpack
import numpy as np
from flax import serialization

from core.files import size_of
from core.reading import MODEST, UnreadableError, read_bytes, reading, reason
from interop.base import Adam, CheckpointFormatError, Flat, Imported, flatten, integer, settings

KIND = "published Flax checkpoint"
_KEYS = ("step", "optimizer", "params_ema")


def read(path: pathlib.Path) -> Imported:
    """The training state that the old Flax library wrote.

    A map of `step`, `optimizer` {`target`, `state` {`step`, `param_states`: per leaf `grad_ema` and `grad_sq_ema`}},
    `params_ema`, `lr`, `ema_rate`, `model_state` (empty) and `rng` (ignored: here randomness is addressed by the step).
    Arrays are (shape, name of the dtype, raw bytes): nothing in the format could be executed.
    Both step counts are numbers of updates. Errors: CheckpointFormatError.
    """
    try:
        if size_of(path) > MODEST and not _is_map(path):
            raise UnreadableError("it does not start as a map does")
        state = restore(read_bytes(path))
    except UnreadableError as error:
        raise CheckpointFormatError(
            f"is not a checkpoint, or is damaged or truncated (it is not msgpack: {str(error)[:100]}); give a "
            "published Flax checkpoint, a PyTorch .pth, or exported parameters as .npz or .safetensors."
        ) from error
    if not isinstance(state, dict) or any(key not in state for key in _KEYS):
        raise CheckpointFormatError(
            f"is msgpack but not a training state: it must be a map with {', '.join(_KEYS)}, but is {_describe(state)}."
        )
    optimizer = state["optimizer"] if isinstance(state["optimizer"], dict) else {}
    if "target" not in optimizer:
        raise CheckpointFormatError("has no optimizer/target, where a training state has its parameters.")
    params = _in_our_shapes(flatten(optimizer["target"]))
    for name, value in flatten({"model_state": state.get("model_state", {})}).items():
        params[name] = value  # no network here has such a state, so it is reported as unexpected
    return Imported(
        KIND,
        integer("step", state["step"]),
        params,
        _in_our_shapes(flatten(state["params_ema"])),
        _adam(optimizer.get("state")),
        settings({"optim.lr": state.get("lr"), "model.ema_rate": state.get("ema_rate")}),
    )


def restore(data: bytes) -> Any:
    """What Flax has written as msgpack: maps, numbers, and arrays. Errors: UnreadableError."""
    with reading():
        try:
            return serialization.msgpack_restore(data)
        except (msgpack.UnpackException, AttributeError) as error:  # AttributeError: an array where a map is expected
            raise UnreadableError(reason(error)) from error


def _is_map(path: pathlib.Path) -> bool:
    """Whether msgpack is a map, by its first byte: other large files need not be in memory to be refused."""
    with path.open("rb") as file:
        first = file.read(1)
    return first in (b"\xde", b"\xdf") or b"\x80" <= first <= b"\x8f"


def _in_our_shapes(flat: Flat) -> Flat:
    """Parameters of normalization are (1, 1, 1, C) there and (C,) here."""
    return {name: value.reshape(-1) if _is_channelwise(name, value) else value for name, value in flat.items()}


def _is_channelwise(name: str, value: Any) -> bool:
    is_kernel = name.rsplit("/", 1)[-1] in ("kernel", "weight")  # a 1x1 convolution of one channel is (1, 1, 1, C) too
    return isinstance(value, np.ndarray) and value.ndim == 4 and value.shape[:3] == (1, 1, 1) and not is_kernel


def _adam(state: Any) -> Adam | None:
    """None for an optimizer without a state."""
    param_states = state.get("param_states") if isinstance(state, dict) else None
    if not isinstance(param_states, dict) or not param_states:
        return None
    moments: dict[str, dict[str, Any]] = {"grad_ema": {}, "grad_sq_ema": {}}
    for path, value in flatten(param_states).items():
        name, _, moment = path.rpartition("/")
        if moment not in moments:
            raise CheckpointFormatError(
                f"has optimizer/state/param_states/{path}, but Adam's state is grad_ema and grad_sq_ema of each tensor."
            )
        moments[moment][name] = value
    return Adam(
        integer("optimizer/state/step", state.get("step")),
        _in_our_shapes(moments["grad_ema"]),
        _in_our_shapes(moments["grad_sq_ema"]),
    )


def _describe(state: Any) -> str:
    if not isinstance(state, dict):
        return f"one {type(state).__name__}"
    return f"a map with {', '.join(str(key)[:20] for key in list(state)[:8]) or 'nothing'}"
