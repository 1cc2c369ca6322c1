"""Posterior sampling of a linear inverse problem, compared with the closed form: error by method and number of steps.

    python -m benchmarks.inverse [--sde vp|subvp|ve|edm|cosine] [--noise 0.0]

The data are four years of a monthly time series, x_0 ~ N(0, C) with 48 components. One year in the middle is missing,
and the other 36 months are observed. The score is exact, so all errors are due to the methods. There are 48 series and
56 samples per series. The posterior standard deviation of the missing months is 0.52, so the mean of 56 exact samples
has an error of 0.52 / sqrt(56) = 0.07, the Monte Carlo floor. Prints a Markdown table with the root-mean-square error
of the mean over the twelve missing months, which includes that floor; the standard deviation of the samples in these
months; and the relative error of their covariance, with a floor of 0.05.
"""

import argparse
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sampling import grids
from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.mask import mask
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
    """Errors over the missing months.

    `mean_error`: root mean square of (mean of the samples - posterior mean); `std`: root mean square of the standard
    deviations of the samples; `cov_error`: relative error of their covariance in the Frobenius norm.
    """

    mean_error: float
    std: float
    cov_error: float


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


@dataclasses.dataclass(frozen=True)
class SeasonalProblem:
    """The seasonal series, observed with noise of standard deviation `noise_std`, and its posterior."""

    noise_std: float = 0.0
    num_series: int = 48
    num_samples: int = 56

    @property
    def floor(self) -> float:
        """The root-mean-square error of the mean of `num_samples` exact samples."""
        return self.std / self.num_samples**0.5

    @property
    def std(self) -> float:
        """Root mean square of the posterior standard deviations of the missing months."""
        return float(np.sqrt(np.diag(self._cov()).mean()))

    def run(self, variant: Variant, sde: SDE, times: tuple[float, ...]) -> Errors:
        """Samples with one method and measures the errors."""
        prior, known = seasonal()
        series = np.asarray(prior.sample(0, (self.num_series, 48)), np.float64)
        noise = np.random.default_rng(1).normal(size=series.shape)
        measured = (series + self.noise_std * noise) * known
        y = jnp.asarray(np.repeat(measured, self.num_samples, axis=0), jnp.float32)
        method = METHODS[variant.method](
            sde, mask((48,), known), y, self.noise_std, dataclasses.replace(DEFAULTS, **dict(variant.settings))
        )
        corrector = langevin(snr=variant.snr) if variant.corrections else none()
        predictor, corrections = method.wrap_step(reverse_diffusion()), variant.corrections
        sampler = pc(sde, predictor, corrector, times, num_corrector_steps=corrections)
        predict = method.wrap_predict(prior.predict(sde))
        x = jax.jit(lambda key: sampler(key, predict, y.shape, constrain=method.constrain).x)(jax.random.key(0))
        samples = np.asarray(x, np.float64).reshape(self.num_series, self.num_samples, 48)[..., ~known]
        expected = (measured[:, known] @ self._gain().T)[:, ~known]
        mean_error = float(np.sqrt(np.mean((samples.mean(axis=1) - expected) ** 2)))
        # The posterior covariance is the same for all series, so the samples are pooled after subtracting their means.
        centered = (samples - samples.mean(axis=1, keepdims=True)).reshape(-1, samples.shape[-1])
        cov = centered.T @ centered / (self.num_series * (self.num_samples - 1))
        cov_error = float(np.linalg.norm(cov - self._cov()) / np.linalg.norm(self._cov()))
        return Errors(mean_error, float(np.sqrt(np.diag(cov).mean())), cov_error)

    def _cov(self) -> np.ndarray:
        """The posterior covariance of the missing months [12, 12]."""
        prior, known = seasonal()
        return (prior.cov - self._gain() @ prior.cov[known])[np.ix_(~known, ~known)]

    def _gain(self) -> np.ndarray:
        """The matrix of E[x | y] = gain y: [48, 36]."""
        prior, known = seasonal()
        observed_cov = prior.cov[np.ix_(known, known)] + self.noise_std**2 * np.eye(known.sum())
        return np.linalg.solve(observed_cov, prior.cov[known]).T


def main() -> None:
    """Prints one table per SDE."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sde", choices=SDES, action="append")
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
    arguments = parser.parse_args()
    problem = SeasonalProblem(arguments.noise, arguments.series, arguments.samples)
    middle = arguments.steps[len(arguments.steps) // 2]
    for name in arguments.sde or SDES:
        sde, eps = SDES[name]
        print(f"{name}: floor {problem.floor:.3f}, posterior standard deviation {problem.std:.3f}\n")
        headings = [*(f"{n} steps" for n in arguments.steps), f"std, {middle} steps", f"covariance, {middle} steps"]
        print(f"| method | {' | '.join(headings)} |")
        print("|" + " --- |" * (len(headings) + 1))
        for label in arguments.ways:
            results = {n: problem.run(VARIANTS[label], sde, grids.uniform(n, eps)) for n in arguments.steps}
            cells = [f"{errors.mean_error:.3f}" for errors in results.values()]
            cells += [f"{results[middle].std:.3f}", f"{results[middle].cov_error:.2f}"]
            print(f"| {label} | " + " | ".join(cells) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
