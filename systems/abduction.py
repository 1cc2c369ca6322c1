"""Counterfactuals of examples: what is inferred of each, what is done to its variables, and what becomes of it.

    abduction   z = mean of q(z | x),  u_i = z_i - f_i(z of parents),  noise: the ODE from x to t = 1, given z
    action      z_i := value of some variables, or a shift added to them
    prediction  z' = propagate(u) with the action;  x' = the ODE from noise back to the data, given z'

Source: Pearl, "Causality", 2009, theorem 7.1.7; Komanduri et al., "Causal Diffusion Autoencoders", 2024, algorithm 3.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.keys import RunKey, SampleKey, draw_normal, fold_in, keys_at
from systems.requests.base import batch_size, in_batches, to_levels, to_network
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has tables of what uses this
    from systems.causal_diffae import CausalDiffAE


class Abducted(NamedTuple):
    """The noise u and latents z [N, n, d] of the variables, and the noise [N, ...] of all else at t = 1."""

    u: np.ndarray
    z: np.ndarray
    noise: np.ndarray
    num_evals: float


def abducted(system: "CausalDiffAE", variables: Variables, x: np.ndarray, strength: float | None = None) -> Abducted:
    """What is inferred of examples x [N, ...], values of the data."""
    seen = to_network(system, x)

    def infer(rows: np.ndarray) -> dict[str, Array]:
        values, given = system.devices.shard_rows((jnp.asarray(x[rows]), jnp.asarray(seen[rows])))
        u = system.abduct(variables, values)
        z = system.propagate(variables, u, None)
        found = system.to_code(variables, given, z, strength)
        return {"u": u, "z": z, "noise": found["x"], "num_evals": found["num_evals"]}

    return Abducted(**in_batches(infer, len(x), batch_size(system, len(x)), "abduction"))


def predicted(
    system: "CausalDiffAE",
    variables: Variables,
    given: Abducted,
    values: Mapping[str, Any],
    shifts: Mapping[str, Any] | None = None,
    *,
    propagate: bool = True,
) -> np.ndarray:
    """z' [N, n, d] after an action; without `propagate` variables keep what their causes made of them before."""
    do = system.intervention(variables, len(given.u), values, shifts)
    if propagate:
        return np.asarray(system.propagate(variables, jnp.asarray(given.u), do))
    fixed, found, shift = (np.asarray(part)[..., None] for part in do)
    return np.where(fixed, found, given.z + shift)


def decoded(
    system: "CausalDiffAE", variables: Variables, noise: np.ndarray, z: np.ndarray, strength: float | None = None
) -> np.ndarray:
    """The examples [N, ...], values of the data, with this noise [N, ...] and these latents [N, n, d]."""

    def decode(rows: np.ndarray) -> dict[str, Array]:
        parts = system.devices.shard_rows((jnp.asarray(noise[rows]), jnp.asarray(z[rows])))
        return system.from_code(variables, *parts, strength)

    return to_levels(system, in_batches(decode, len(z), batch_size(system, len(z)), "decoding")["x"])


def random_noise(system: "CausalDiffAE", number: int, rows: np.ndarray) -> np.ndarray:
    """Noise at t = 1 [N, ...] that has nothing of an example, from the keys of the samples `rows`."""
    keys = fold_in(keys_at(fold_in(fold_in(system.key, RunKey.SAMPLE), number), rows), SampleKey.PRIOR)
    return np.asarray(system.sde.prior_std * draw_normal(keys, (len(rows), *system.spec.shape)))
