"""What an example would have been, had some of its variables been others: the task counterfactual of mode sample."""

import csv
import dataclasses
import functools
import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from absl import logging

from core.tables import nearest
from reports.sheets import with_headings
from systems.abduction import Abducted, abducted, decoded, predicted
from systems.requests.base import Input, SampleFn, SampleResult, images
from systems.requests.generate import check_labels
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.causal_diffae import CausalDiffAE

ACTION = re.compile(r"(?P<name>\w+)(?P<how>[-+]?=)(?P<value>[^:]+)(:(?P<last>[^:]+))?")


@dataclasses.dataclass(frozen=True)
class Counterfactual(Input):
    """What is done: `NAME=VALUE` sets a variable, `NAME+=VALUE` and `NAME-=VALUE` shift what its causes make of it.

    `NAME=FIRST:LAST` sets one variable to `num_samples` values in turn.
    """

    do: tuple[str, ...] = ()
    num_samples: int = 7


class Action(NamedTuple):
    """What is done to a variable: to set it to each of `values`, or to shift it by the only one."""

    name: str
    values: tuple[float, ...]
    is_shift: bool


def counterfactual(system: "CausalDiffAE", request: Counterfactual) -> SampleFn:
    """Counterfactuals of the input. Errors: ValueError for what is not understood, before anything is compiled."""
    _ = system.flow
    check_labels(system, request.labels)
    names = system.causal.graph.names
    if not request.do:
        raise ValueError(f"--task=counterfactual needs --do=NAME=VALUE, with any of {', '.join(names)}.")
    actions = [_action(text, names, request.num_samples) for text in request.do]
    for k, action in enumerate(actions):
        if action.name in (other.name for other in actions[:k]):
            raise ValueError(f"--do has {action.name!r} twice; leave it once.")
    if sum(len(action.values) > 1 for action in actions) > 1:
        raise ValueError(
            "--do has a range FIRST:LAST of several variables; give it for one, and values for the others."
        )
    return functools.partial(_counterfactual, system, actions, *images(system, request))


def _action(text: str, names: Sequence[str], num: int) -> Action:
    """The action that a text describes. Errors: ValueError."""
    found = ACTION.fullmatch(text.strip())
    try:
        ends = [float(found[part]) for part in ("value", "last") if found[part]] if found else []
    except ValueError:
        ends = []
    is_shift = bool(found) and found["how"] != "="  # type: ignore[index]
    if found is None or not ends or not all(map(math.isfinite, ends)) or (is_shift and len(ends) > 1):
        raise ValueError(
            f"--do={text} is not understood; give NAME=VALUE, NAME+=VALUE, NAME-=VALUE or NAME=FIRST:LAST, numbers, "
            "with commas between several."
        )
    if found["name"] not in names:
        raise ValueError(
            f"--do={text} names {found['name']!r}, but the variables are {', '.join(names)} "
            f"(nearest: {nearest(found['name'], names)})."
        )
    sign = -1 if found["how"] == "-=" else 1
    values = np.linspace(ends[0], ends[1], num) if len(ends) > 1 else sign * np.array(ends)
    return Action(found["name"], tuple(map(float, values)), is_shift)


def check_range(system: "CausalDiffAE", variables: Variables, name: str, values: np.ndarray) -> None:
    """Warns of values that were not in training. Errors: ValueError for values that are far from them."""
    labels, i = jax.device_get(variables["labels"]), system.causal.graph.names.index(name)
    low, high = float(labels["low"][i]), float(labels["high"][i])
    beyond = np.maximum(low - values, values - high)
    worst = float(np.ravel(values)[int(np.argmax(beyond))])
    where = f"{name} = {worst:g} is outside of the range of the training data, {low:g} to {high:g}"
    if beyond.max() > high - low:
        raise ValueError(f"{where}, by more than its width; give values within it.")
    if beyond.max() > 1e-6 * (high - low):
        logging.warning("%s: the model has not seen such examples", where)


def _counterfactual(
    system: "CausalDiffAE",
    actions: Sequence[Action],
    names: Sequence[str],
    levels: np.ndarray,
    variables: Variables,
    number: int,
) -> SampleResult:
    num = max(len(action.values) for action in actions)
    steps = [{action.name: action.values[k % len(action.values)] for action in actions} for k in range(num)]
    for action in actions:
        if not action.is_shift:
            check_range(system, variables, action.name, np.array(action.values))
    shifted = {action.name for action in actions if action.is_shift}
    given = abducted(system, variables, levels)
    after = []
    for step in steps:
        values, shifts = ({n: v for n, v in step.items() if (n in shifted) == is_shift} for is_shift in (False, True))
        after.append(predicted(system, variables, given, values, shifts))
    z = np.stack(after, axis=1)  # [N, K, n, d]
    found = decoded(system, variables, np.repeat(given.noise, num, axis=0), z.reshape(-1, *z.shape[2:]))
    found = found.reshape(len(levels), num, *found.shape[1:])
    cells = np.concatenate([levels[:, None], found], axis=1).reshape(-1, *levels.shape[1:])
    arrays = {"input": levels, "arr_0": found, "u": given.u, "z": given.z, "z_after": z, "noise": given.noise}
    figures = {"names": list(names), "num_evals": given.num_evals}
    done = [" ".join(f"{n}{'+' if n in shifted else ''}={v:.4g}" for n, v in step.items()) for step in steps]
    return SampleResult(
        _picture(system, cells, ["input", *done]),
        arrays,
        figures,
        found.reshape(-1, *levels.shape[1:]),
        tables={"attributes": _table(system, variables, names, done, given, z)},
    )


def _picture(system: "CausalDiffAE", cells: np.ndarray, headings: Sequence[str]) -> np.ndarray:
    """A row per example: the input and its counterfactuals, enlarged so that the headings fit."""
    picture = system.picture(cells, len(headings))
    if not system.has_images:
        return picture
    scale = max(1, round(72 / system.spec.shape[1]))
    return with_headings(picture.repeat(scale, axis=0).repeat(scale, axis=1), headings)


def _table(
    system: "CausalDiffAE",
    variables: Variables,
    names: Sequence[str],
    done: Sequence[str],
    given: Abducted,
    z: np.ndarray,
) -> str:
    """The variables of each input, as the encoder sees them, and of each counterfactual, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["input", "do", *system.causal.graph.names])
    for row, name in enumerate(names):
        latents = np.concatenate([given.z[row][None], z[row]])
        found = system.attributes(variables, latents)
        for k, what in enumerate(["", *done]):
            writer.writerow([name, what, *(f"{values[k]:.6g}" for values in found.values())])
    return text.getvalue()
