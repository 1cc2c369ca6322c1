"""Posterior sampling of a linear inverse problem, compared with the closed form: error by method and number of steps.

    python -m benchmarks.inverse [--sde vp|subvp|ve|edm|cosine] [--measured months|fourier|radon] [--noise 0.0]

The data are four years of a monthly time series, x_0 ~ N(0, C) with 48 components. One year in the middle is missing,
and the other 36 months are observed; or some of the frequencies are measured, or sums along lines at some angles of the
image of 4 years by 12 months. The score is exact, so all errors are due to the methods. There are 48 series and 56
samples per series. The posterior standard deviation of the missing months is 0.52, so the mean of 56 exact samples has
an error of 0.52 / sqrt(56) = 0.07, the Monte Carlo floor. Prints a Markdown table with the root-mean-square error of
the mean in the directions that are not measured, such as the missing months, which includes that floor; the standard
deviation of the samples in these directions; the relative error of their covariance, with a floor of 0.05; and how
often the central 90% interval of the samples contains the truth.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.keys import keys_at
from evaluation.metrics.intervals import coverage
from sampling import grids
from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.base import LinearOperator, observe
from sampling.inverse.operators.fourier import fourier
from sampling.inverse.operators.mask import mask
from sampling.inverse.operators.patterns import random_points
from sampling.inverse.operators.radon import radon
from sampling.pc import pc
from sampling.steps.langevin import langevin
from sampling.steps.none import none
from sampling.steps.reverse_diffusion import reverse_diffusion
from sde.base import SDE
from sde.cosine import Cosine
from sde.edm import EDM
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian

SDES: dict[str, tuple[SDE, float]] = {  # with the final time of the samplers
    "vp": (VP(), 1e-3),
    "subvp": (SubVP(), 1e-3),
    "ve": (VE(), 1e-5),
    "edm": (EDM(sigma_max=20.0), 1e-3),
    "cosine": (Cosine(), 1e-3),
}
NUM_STEPS = (25, 100, 400)
DEFAULTS = MethodSettings(prior_variance=1.05, limit=2.0, form="score")


class Variant(NamedTuple):
    """A method with its settings, and the Langevin corrections per step with their signal-to-noise ratio."""

    method: str
    corrections: int = 0
    snr: float = 0.25
    settings: tuple[tuple[str, Any], ...] = ()


class Errors(NamedTuple):
    """Errors in orthonormal directions that are not measured.

    `mean_error`: root mean square of (mean of the samples - posterior mean); `std`: root mean square of the standard
    deviations of the samples; `cov_error`: relative error of their covariance in the Frobenius norm; `coverage`: share
    of the truth in the central 90% interval of the samples.
    """

    mean_error: float
    std: float
    cov_error: float
    coverage: float


VARIANTS = {
    "projection": Variant("projection"),
    "projection, 1 Langevin": Variant("projection", 1),
    "projection, 4 Langevin": Variant("projection", 4),
    "projection, 1 Langevin, snr 0.16": Variant("projection", 1, 0.16),
    "projection, 4 Langevin, snr 0.16": Variant("projection", 4, 0.16),
    "ddnm": Variant("ddnm"),
    "pigdm, isotropic": Variant("pigdm"),
    "pigdm, jacobian": Variant("pigdm", settings=(("covariance", "jacobian"),)),
    "dps, score": Variant("dps"),
    "dps, step, zeta = 0.5": Variant("dps", settings=(("form", "step"), ("zeta", 0.5))),
}


def seasonal() -> tuple[Gaussian, np.ndarray]:
    """The prior over 48 months, and a mask of the observed months: all except months 18 to 29.

    C_ij = exp(-2 sin^2(pi d / 12)) exp(-d / 48) + 0.05 [i = j], d = |i - j|: a slowly varying seasonal
    pattern and noise. Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equations 4.31
    and 5.16.
    """
    months = np.arange(48)
    distance = np.abs(months[:, None] - months[None])
    season = np.exp(-2 * np.sin(np.pi * distance / 12) ** 2) * np.exp(-distance / 48)
    return Gaussian(np.zeros(48), season + 0.05 * np.eye(48)), (months < 18) | (months >= 30)


OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "months": lambda: mask((48,), seasonal()[1]),
    "fourier": lambda: fourier((48, 1), random_points((48,), 0.5, 0.2)),
    "radon": lambda: radon((4, 12, 1), 4),
}


class Posterior(NamedTuple):
    """The Gaussian of N^T x given y, for orthonormal `directions` N [48, R] that are not measured.

    Its mean is `gain` y, for the real and imaginary parts of y [M], and its covariance is `cov` [R, R].
    """

    directions: np.ndarray
    gain: np.ndarray
    cov: np.ndarray


def posterior(prior: Gaussian, A: np.ndarray, noise_std: float) -> Posterior:
    """The posterior for a real matrix A [M, 48], by its singular values."""
    U, s, Vt = np.linalg.svd(A.astype(np.float64))
    rank = int((s > 1e-4 * s.max()).sum())
    # Measured coordinates S V^T x, whose noise is white, and those in which the errors are measured.
    measured, directions = s[:rank, None] * Vt[:rank], Vt[rank:].T
    cross = directions.T @ prior.cov @ measured.T
    gain = np.linalg.solve(measured @ prior.cov @ measured.T + noise_std**2 * np.eye(rank), cross.T).T
    return Posterior(directions, gain @ U[:, :rank].T, directions.T @ prior.cov @ directions - gain @ cross.T)


def reals(y: Any) -> np.ndarray:
    """Real numbers [N, M] of measurements [N, ...], in double precision: real parts, then imaginary parts."""
    flat = np.asarray(y).reshape(len(y), -1)
    return np.concatenate([flat.real, flat.imag] if np.iscomplexobj(flat) else [flat], axis=1).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class SeasonalProblem:
    """The seasonal series, `measured` with noise of standard deviation `noise_std`, and its posterior."""

    noise_std: float = 0.0
    num_series: int = 48
    num_samples: int = 56
    measured: str = "months"
    num_iterations: int = 10  # of conjugate gradients

    @property
    def floor(self) -> float:
        """The root-mean-square error of the mean of `num_samples` exact samples."""
        return self.std / self.num_samples**0.5

    @property
    def std(self) -> float:
        """Root mean square of the posterior standard deviations in the directions that are not measured."""
        return float(np.sqrt(np.diag(self.posterior.cov).mean()))

    @functools.cached_property
    def posterior(self) -> Posterior:
        """The closed form, from the explicit matrix of the operator."""
        operator = OPERATORS[self.measured]()
        unit = jnp.eye(48).reshape(48, *operator.shape)
        return posterior(seasonal()[0], reals(operator.measure(unit)).T, self.noise_std)

    def run(self, variant: Variant, sde: SDE, times: tuple[float, ...]) -> Errors:
        """Samples with one method and measures the errors."""
        prior, operator = seasonal()[0], OPERATORS[self.measured]()
        x = prior.sample(0, (self.num_series, *operator.shape))
        y = observe(operator, keys_at(jax.random.key(1), np.arange(self.num_series)), x, self.noise_std)
        settings = dataclasses.replace(DEFAULTS, num_iterations=self.num_iterations, **dict(variant.settings))
        repeated = jnp.repeat(y, self.num_samples, axis=0)
        method = METHODS[variant.method](sde, operator, repeated, self.noise_std, settings)
        corrector = langevin(snr=variant.snr) if variant.corrections else none()
        predictor, corrections = method.wrap_step(reverse_diffusion()), variant.corrections
        sampler = pc(sde, predictor, corrector, times, num_corrector_steps=corrections)
        predict = method.wrap_predict(prior.predict(sde))
        shape = (len(repeated), *operator.shape)
        found = jax.jit(lambda key: sampler(key, predict, shape, constrain=method.constrain).x)(jax.random.key(0))
        return self._errors(np.asarray(found, np.float64), np.asarray(x, np.float64), reals(y))

    def _errors(self, samples: np.ndarray, x: np.ndarray, y: np.ndarray) -> Errors:
        """The errors of samples [num_series num_samples, ...] of series x given measurements y [num_series, M]."""
        exact, N = self.posterior, self.num_series
        samples, truth = samples.reshape(N, -1, 48) @ exact.directions, x.reshape(N, 48) @ exact.directions
        mean_error = float(np.sqrt(np.mean((samples.mean(axis=1) - y @ exact.gain.T) ** 2)))
        # The posterior covariance is the same for all series, so the samples are pooled after subtracting their means.
        centered = (samples - samples.mean(axis=1, keepdims=True)).reshape(-1, samples.shape[-1])
        cov = centered.T @ centered / (N * (self.num_samples - 1))
        cov_error = float(np.linalg.norm(cov - exact.cov) / np.linalg.norm(exact.cov))
        covered = float(coverage(samples, truth).mean())
        return Errors(mean_error, float(np.sqrt(np.diag(cov).mean())), cov_error, covered)


def main() -> None:
    """Prints one table per SDE."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sde", choices=SDES, action="append")
    parser.add_argument("--measured", choices=OPERATORS, default="months", help="what is measured of a series")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of the observation noise")
    parser.add_argument(
        "--ways", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="NAME", help="; ".join(VARIANTS)
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=NUM_STEPS,
        help="numbers of steps; all errors are shown for the middle one",
    )
    parser.add_argument("--series", type=int, default=48)
    parser.add_argument("--samples", type=int, default=56, help="samples per series")
    parser.add_argument("--iterations", type=int, default=10, help="of conjugate gradients; 40 for radon")
    arguments = parser.parse_args()
    problem = SeasonalProblem(
        arguments.noise, arguments.series, arguments.samples, arguments.measured, arguments.iterations
    )
    middle = arguments.steps[len(arguments.steps) // 2]
    for name in arguments.sde or SDES:
        sde, eps = SDES[name]
        print(f"{name}: floor {problem.floor:.3f}, posterior standard deviation {problem.std:.3f}\n")
        details = ("std", "covariance", "90% interval")
        headings = [*(f"{n} steps" for n in arguments.steps), *(f"{name}, {middle} steps" for name in details)]
        print(f"| method | {' | '.join(headings)} |")
        print("|" + " --- |" * (len(headings) + 1))
        for label in arguments.ways:
            results = {n: problem.run(VARIANTS[label], sde, grids.uniform(n, eps)) for n in arguments.steps}
            cells = [f"{errors.mean_error:.3f}" for errors in results.values()]
            found = results[middle]
            cells += [f"{found.std:.3f}", f"{found.cov_error:.2f}", f"{found.coverage:.3f}"]
            print(f"| {label} | " + " | ".join(cells) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
