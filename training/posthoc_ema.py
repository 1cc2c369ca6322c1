"""Post-hoc EMA: a power-function average of any width, from those that a run has stored."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from training.ema import exponent


class Profile(NamedTuple):
    """The weights of a power-function average at `step`: p(t) = (gamma + 1) t^gamma / step^(gamma + 1), t <= step."""

    step: int
    sigma_rel: float


def coefficients(stored: Sequence[Profile], wanted: Profile) -> np.ndarray:
    """Coefficients w [N] of the stored averages whose combined profile is closest, in L2, to that of `wanted`.

        A w = b,   A_ij = <p_i, p_j>,   b_i = <p_i, p_wanted>

    in double precision; least squares where A is singular. Source: Karras et al., CVPR 2024, section 3.2.
    Errors: ValueError for a step after the last stored one, or if nothing is stored.
    """
    if not stored or wanted.step > max(profile.step for profile in stored):
        raise ValueError(
            f"An average at step {wanted.step} was requested, but the last one stored is of step "
            f"{max((profile.step for profile in stored), default=0)}; request that step, or train longer."
        )
    gram = np.array([[_inner(a, b) for b in stored] for a in stored])
    return np.linalg.lstsq(gram, np.array([_inner(a, wanted) for a in stored]), rcond=1e-14)[0]


def combine(weights: Sequence[float], averages: Iterable[Any]) -> Any:
    """The weighted sum of trees, summed in double precision on the host; only one of them is in memory at a time."""
    total: Any = None
    for weight, average in zip(weights, averages, strict=True):
        scaled = jax.tree.map(lambda a, w=weight: w * np.asarray(a, np.float64), average)
        total = scaled if total is None else jax.tree.map(np.add, total, scaled)
    return jax.tree.map(lambda a: a.astype(np.float32), total)


def _inner(a: Profile, b: Profile) -> float:
    """The integral of p_a p_b from 0 to the earlier step.

    With s <= t: (g_s + 1)(g_t + 1) / (g_s + g_t + 1) (s / t)^g_t / t.
    """
    first, last = sorted((a, b))
    g, h = exponent(first.sigma_rel), exponent(last.sigma_rel)
    return (g + 1) * (h + 1) / (g + h + 1) * (first.step / last.step) ** h / last.step
