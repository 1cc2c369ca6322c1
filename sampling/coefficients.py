"""Multistep methods as tables of coefficients: DPM-Solver++ (2M, 3M, 2M SDE), UniPC and DEIS.

With m = mean_coeff, s = std, lambda = log(m / s) and primes for the next time, the two ways to solve the
probability-flow ODE exactly,

    x' = (s' / s) x + m' int_0^h exp(u - h) x0(lambda + u) du,    h = lambda' - lambda    (data prediction)
    x' = (m' / m) x + m' int noise(t) d(s / m)                                            (noise prediction)

become linear once the prediction is replaced by a polynomial through the known predictions:

    x' = keep x + sum_j weights_j prediction_j (+ spread z)

so a method is a rule for the weights, which are computed in double precision before anything is compiled.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sampling.grids import levels, noise_level
from sde.base import SDE


class Schedule(NamedTuple):
    """The grid in the variables of the solvers, float64 [N + 1] each: t, mean_coeff, std and log(mean_coeff / std)."""

    sde: SDE
    t: np.ndarray
    m: np.ndarray
    s: np.ndarray
    log_snr: np.ndarray


# The weights [P] of the predictions at the times `nodes` [P] (newest first) in the step from i to i + 1.
Rule = Callable[[Schedule, int, Sequence[int]], np.ndarray]


def lagrange(nodes: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The P Lagrange polynomials of the `nodes` [P] (1 at one of them, 0 at the others) at `u` [Q]: [P, Q]."""
    others = [np.delete(nodes, j) for j in range(len(nodes))]
    return np.stack([np.prod((u[:, None] - o) / (a - o), axis=1) for a, o in zip(nodes, others, strict=True)])


def midpoint(schedule: Schedule, i: int, nodes: Sequence[int], *, rate: float = 1.0) -> np.ndarray:
    """Evaluates the polynomial of x0 in lambda at the middle of the step: `m' (1 - exp(-rate h)) L_j(h / 2)`.

    Source: Lu et al., "DPM-Solver++", 2022, algorithm 2 (2M) and, with `rate` 2, its SDE version (section 5 and
    appendix A); Zhao et al., "UniPC", NeurIPS 2023, order 1 of the corrector and 2 of the predictor with B_2.
    """
    u = schedule.log_snr[list(nodes)] - schedule.log_snr[i]
    h = schedule.log_snr[i + 1] - schedule.log_snr[i]
    return -schedule.m[i + 1] * math.expm1(-rate * h) * lagrange(u, np.array([0.5 * h]))[:, 0]


def exponential(schedule: Schedule, i: int, nodes: Sequence[int]) -> np.ndarray:
    """Integrates the polynomial of x0 in lambda exactly: `m' int_0^h exp(u - h) L_j(u) du`; `midpoint` for two nodes.

    Source: Lu et al. 2022, "DPM-Solver++", appendix B (3M); Zhao et al. 2023, equations 5 and 9, whose systems for
    the coefficients these integrals solve for every B(h).
    """
    if len(nodes) <= 2:
        return midpoint(schedule, i, nodes)
    h = schedule.log_snr[i + 1] - schedule.log_snr[i]
    u, weight = _gauss(0.0, h)
    values = lagrange(schedule.log_snr[list(nodes)] - schedule.log_snr[i], u)
    return schedule.m[i + 1] * values @ (weight * np.exp(u - h))


def adams_bashforth(schedule: Schedule, i: int, nodes: Sequence[int]) -> np.ndarray:
    """Integrates the polynomial of the noise in t by parts: `m' int L_j(t) d sigma(t)`, sigma = s / m.

    Source: Zhang and Chen, "Fast Sampling of Diffusion Models with Exponential Integrator", ICLR 2023, equation 15
    (tAB-DEIS). Notes: it needs no derivative of sigma, since int L dsigma = [L sigma] - int L' sigma dt.
    """
    ends, at = schedule.t[[i, i + 1]], schedule.t[list(nodes)]
    sigma = schedule.s[[i, i + 1]] / schedule.m[[i, i + 1]]
    weights = np.diff(lagrange(at, ends) * sigma, axis=1)[:, 0]
    if len(nodes) > 1:
        t, weight = _gauss(*ends)
        slopes = np.stack([np.polynomial.Polynomial.fit(at, unit, len(at) - 1).deriv()(t) for unit in np.eye(len(at))])
        weights = weights - slopes @ (weight * _smooth_noise_level(schedule.sde, t))
    return schedule.m[i + 1] * weights


def _gauss(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of Gauss-Legendre quadrature on [a, b]."""
    u, weight = np.polynomial.legendre.leggauss(64)
    return a + 0.5 * (b - a) * (u + 1), 0.5 * (b - a) * weight


def _smooth_noise_level(sde: SDE, t: np.ndarray) -> np.ndarray:
    """std / mean_coeff at times [Q]; its logarithm is interpolated between the levels of a chain."""
    if not sde.is_discrete:
        return noise_level(sde, t)
    known = np.asarray(levels(sde.num_scales)[-2::-1])
    return np.exp(np.interp(t, known, np.log(noise_level(sde, known))))


@dataclasses.dataclass(frozen=True)
class Method:
    """A rule for the weights of `order` predictions, and of one more in the corrector.

    `corrects`: recompute x at the new time using the prediction made there, without another call (UniC).
    `noisy`: follow the reverse SDE instead of the ODE.
    """

    order: int
    rule: Rule
    predicts: Literal["data", "noise"] = "data"
    corrects: bool = False
    noisy: bool = False


class Coefficients(NamedTuple):
    """The coefficients of every step, [N], or [N, P] for `fix` and `weights`; the first three are the corrector's.

    x <- stay x + redo x_before + fix . predictions,    x' = keep x + weights . predictions + spread z
    """

    stay: Any
    redo: Any
    fix: Any
    keep: Any
    weights: Any
    spread: Any


def coefficients(sde: SDE, method: Method, times: Sequence[float], lower_final: bool) -> Coefficients:
    """The table of `method` for `times` [N + 1], of lower order in the first steps, and in the last if `lower_final`.

    The step of a chain to its data, where std is 0, is x' = mean_coeff x0 with the newest prediction.
    """
    schedule, num_steps, size = _schedule(sde, times), len(times) - 1, method.order + int(method.corrects)
    table = Coefficients(*(np.zeros((num_steps, size) if k in (2, 4) else num_steps) for k in range(6)))
    table.stay[:] = 1.0
    for i in range(num_steps):
        order = min(method.order, i + 1, num_steps - i if lower_final else method.order)
        if schedule.s[i + 1] == 0:
            order = 1
        table.keep[i] = _keep(method, schedule, i)
        table.weights[i, :order] = _weights(method, schedule, i, range(i, i - order, -1))
        if method.noisy and schedule.s[i + 1] > 0:
            h = schedule.log_snr[i + 1] - schedule.log_snr[i]
            table.spread[i] = schedule.s[i + 1] * math.sqrt(-math.expm1(-2 * h))
        if method.corrects and i + 1 < num_steps:
            table.stay[i + 1], table.redo[i + 1] = 0.0, table.keep[i]
            table.fix[i + 1, : order + 1] = method.rule(schedule, i, range(i + 1, i - order, -1))
    return table


def _schedule(sde: SDE, times: Sequence[float]) -> Schedule:
    with jax.ensure_compile_time_eval():  # concrete numbers, even if the caller is traced
        t = jnp.asarray(times)
        m, s = np.asarray(sde.mean_coeff(t), np.float64), np.asarray(sde.std(t), np.float64)
    with np.errstate(divide="ignore"):
        return Schedule(sde, np.asarray(times, np.float64), m, s, np.log(m) - np.log(s))


def _keep(method: Method, schedule: Schedule, i: int) -> float:
    m, s = schedule.m, schedule.s
    if method.predicts == "noise":
        return m[i + 1] / m[i]
    return s[i + 1] / s[i] * (s[i + 1] * m[i] / (s[i] * m[i + 1]) if method.noisy else 1.0)


def _weights(method: Method, schedule: Schedule, i: int, nodes: Sequence[int]) -> np.ndarray:
    if schedule.s[i + 1] > 0 or method.predicts == "noise":
        return method.rule(schedule, i, nodes)
    return schedule.m[[i + 1]]


METHODS: dict[str, Method] = {
    "dpmpp_2m": Method(2, midpoint),
    "dpmpp_3m": Method(3, exponential),
    "dpmpp_2m_sde": Method(2, functools.partial(midpoint, rate=2.0), noisy=True),
    "unipc_2": Method(2, exponential, corrects=True),
    "unipc_3": Method(3, exponential, corrects=True),
    "deis_2": Method(2, adams_bashforth, predicts="noise"),
    "deis_3": Method(3, adams_bashforth, predicts="noise"),
}
