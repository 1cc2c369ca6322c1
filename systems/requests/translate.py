"""Examples of one domain as examples of another: the task translate of the program sample."""

import dataclasses
import functools
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from builders import data
from builders.earlier import EarlierRun
from builders.few_steps import check_density
from builders.process import make_sde
from builders.score import make_predict_of
from builders.shape import data_shape
from sampling import latent
from systems.requests.base import Input, SampleFn, SampleResult, images, to_levels, to_network
from systems.requests.generate import check_labels
from systems.requests.latent import Target, flow_of, solve
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion


@dataclasses.dataclass(frozen=True)
class Translation(Input):
    """`target`: the workdir of a model of the other domain. `checkpoint`: of it; the newest by default."""

    target: str | None = None
    checkpoint: int | None = None


def translation(system: "Diffusion", request: Translation) -> SampleFn:
    """Encodes examples by the ODE of this model and decodes them by that of another one, trained without any pairs.

        x' = decode_B(encode_A(x) prior_std_B / prior_std_A)

    Errors: ValueError for a target that is missing or has other examples, and for input that does not fit.
    Source: Su et al., "Dual Diffusion Implicit Bridges for Image-to-Image Translation", ICLR 2023, section 3.
    """
    flow_of(system, request)
    check_labels(system, request.labels)
    if request.target is None:
        raise ValueError("--task=translate needs --request.target=WORKDIR, the run of a model of the other domain.")
    earlier = system.context.load_network(
        "request.target", request.target, request.checkpoint, system.devices.replicated
    )
    _check(system, earlier, request.target)
    names, levels = images(system, request)
    return functools.partial(_translated, system, request, earlier, names, to_network(system, levels))


def _check(system: "Diffusion", earlier: EarlierRun, target: str) -> None:
    """Errors: ValueError for a run that is no score model with a velocity, or has examples of another shape."""
    if earlier.config.system != "diffusion" or make_sde(earlier.config).is_discrete:
        raise ValueError(
            f"--request.target={target} is no score model in continuous time, and only those have an ODE; give "
            "the run of one."
        )
    check_density(earlier.config)
    if (shape := data_shape(earlier.config)) != system.spec.shape:
        raise ValueError(
            f"--request.target={target} was trained on examples of shape {shape}, but those of this model have "
            f"{system.spec.shape}; give a model of examples of the same shape."
        )


def _translated(
    system: "Diffusion",
    request: Translation,
    earlier: EarlierRun,
    names: list[str],
    x: np.ndarray,
    variables: Variables,
    number: int,
) -> SampleResult:
    """Pairs of each example and its translation, in the units of the other data."""
    config, spec = earlier.config, earlier.spec or system.spec
    flow, predict_of = flow_of(system, request), make_predict_of(config, config.sampling.dtype)
    target = Target(lambda params, guide, asked: predict_of(params, {}, None), make_sde(config))
    encoded = solve(system, flow, latent.encode, variables, x, request.labels_of)
    codes = encoded["x"] * (target.sde.prior_std / system.sde.prior_std)
    decoded = solve(system, flow, latent.decode, earlier.variables, codes, target=target)
    found = np.asarray(data.to_data(config, spec.num_levels)(jnp.asarray(decoded["x"])))
    given = to_levels(system, x)
    figures = {"names": names, "num_evals": encoded["num_evals"], "num_evals_back": decoded["num_evals"]}
    same = spec.num_levels == system.spec.num_levels  # otherwise the two cannot share a grid
    cells = np.stack([given, found], axis=1).reshape(-1, *system.spec.shape) if same else found
    arrays = {"arr_0": found, "input": given, "latents": codes}
    return SampleResult(system.picture(cells, 2 if same else None), arrays, figures, found)
