"""Examples with a known part, completed by a model of their codes: the task inpaint of the program sample."""

import functools
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from builders import inverse
from sampling.inverse.operators.base import LinearOperator
from systems.categorical import CategoricalDiffusion
from systems.diffusion import Diffusion
from systems.requests.base import SampleFn, SampleResult, images
from systems.requests.complete import Completion, check_inference, completed, completions, mask_of
from systems.requests.generate import check_labels
from systems.requests.posterior import posterior_samples
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.latent import Latent

Restore = tuple[inverse.PosteriorSampler, LinearOperator]


def has_patches(shape: tuple[int, ...], code_shape: tuple[int, ...]) -> bool:
    """Whether each code stands for a patch of an example: both are grids, and one divides the other."""
    sides = zip(shape[:-1], code_shape[:-1], strict=False)
    return len(shape) == len(code_shape) > 1 and not any(side % num for side, num in sides)


def known_codes(known: np.ndarray, code_shape: tuple[int, ...]) -> np.ndarray:
    """The codes [*sides, 1] whose whole patch is known, of a mask [*sides of an example, 1 or C]."""
    whole, sides = np.all(known, axis=-1), code_shape[:-1]
    split = [part for side, num in zip(whole.shape, sides, strict=True) for part in (num, side // num)]
    return np.asarray(np.reshape(whole, split).all(axis=tuple(range(1, len(split), 2))))[..., None]


def code_completion(system: "Latent", request: Completion) -> SampleFn:
    """Samples that agree with examples where they are known: codes of whole patches are kept, the others sampled.

    Errors: ValueError for input or a mask that does not fit.
    """
    check_labels(system, request.labels)
    check_inference(system, request)
    known, inner = mask_of(system, request), system.inner
    codes = known_codes(known, inner.spec.shape)
    if known.all() or not codes.any():
        patch = "x".join(str(side // num) for side, num in zip(known.shape, codes.shape[:-1], strict=False))
        raise ValueError(
            f"--task={request.task} keeps patches of {patch} that are wholly known, and samples the others, but the "
            f"mask leaves {'nothing to sample' if known.all() else 'no such patch'}; give another --mask."
        )
    restore = _restore(inner, codes) if isinstance(inner, Diffusion) else None
    return functools.partial(_completed, system, request, *images(system, request), known, codes, restore)


def _restore(inner: Diffusion, codes: np.ndarray) -> Restore:
    """How latents that are known, exactly, condition a score model of standardized latents."""
    operator = inverse.operator(inner.config, "inpaint", inner.spec.shape, codes[None])
    sampler = inverse.posterior_sampler(inner.config, inner.sde, inner.sampler, 1.0, width=0.0)
    return sampler, operator


def _completed(
    system: "Latent",
    request: Completion,
    names: list[str],
    values: np.ndarray,
    known: np.ndarray,
    codes: np.ndarray,
    restore: Restore | None,
    variables: Variables,
    number: int,
) -> SampleResult:
    """Encodes what is known, samples the other codes, decodes, and keeps what is known."""
    inner, S, shape = system.inner, request.num_samples, system.spec.shape
    x0 = np.asarray(system.encode(variables, jnp.asarray(filled(values, known))))
    if restore is None:
        assert isinstance(inner, CategoricalDiffusion)  # tokens have no other models
        found = completions(inner, request, codes, np.asarray(inner.to_model(jnp.asarray(x0))), variables, number)
    else:
        assert isinstance(inner, Diffusion)
        sampler, operator = restore
        y = operator.measure(jnp.asarray(x0))
        found = posterior_samples(inner, sampler, operator, y, S, variables, number, request.labels_of)
    sampled = found["samples"].reshape(len(names) * S, *inner.spec.shape)
    decoded = np.asarray(system.decode(variables, jnp.asarray(sampled))).reshape(len(names), S, *shape)
    samples = np.where(known, values[:, None], decoded)
    return completed(system.spec, names, values, known, samples, found["num_evals"])


def filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values [N, ...], where they are not known the mean of those that are: an encoder must not see the rest."""
    mask = np.broadcast_to(known, values.shape)
    means = values.mean(axis=tuple(range(1, values.ndim)), where=mask, keepdims=True)
    rounded = np.rint(means) if np.issubdtype(values.dtype, np.integer) else means
    return np.where(mask, values, rounded).astype(values.dtype)
