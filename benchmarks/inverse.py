"""Posterior samples of a linear inverse problem, against the closed form: error by method and number of steps.

    python -m benchmarks.inverse [--sde vp|subvp|ve|edm|cosine] [--noise 0.0]

The laboratory: four years of a monthly series, x_0 ~ N(0, C) over 48 numbers, of which a year in the middle is missing
and the other 36 are measured. Its score is exact, so that all errors are the methods'. 48 series are drawn, and 56
samples for each: the posterior's standard deviation is 0.52 where nothing was measured, so that a mean of 56 exact
samples is off by 0.52 / sqrt(56) = 0.07, the floor. Prints markdown: the root mean square error of the mean over the
twelve missing months, that floor included; the standard deviation of the samples there; and the relative error of their
covariance, whose own floor is 0.05.
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
from sampling.pc import PC
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

SDES: dict[str, tuple[SDE, float]] = {  # with the time at which samplers end
    "vp": (VP(), 1e-3),
    "subvp": (SubVP(), 1e-3),
    "ve": (VE(), 1e-5),
    "edm": (EDM(sigma_max=20.0), 1e-3),
    "cosine": (Cosine(), 1e-3),
}
NUM_STEPS = (25, 100, 400)
DEFAULTS = MethodSettings(prior_variance=1.05, limit=2.0, form="score")


class Way(NamedTuple):
    """A method, Langevin corrections in each step and their signal-to-noise ratio, and its settings."""

    method: str
    corrections: int = 0
    snr: float = 0.25
    settings: tuple[tuple[str, Any], ...] = ()


class Errors(NamedTuple):
    """Over what is missing: root mean square error of the posterior mean, that of samples around their mean, and the
    relative error of the covariance of the samples, in the Frobenius norm.
    """

    mean_error: float
    std: float
    cov_error: float


WAYS = {
    "projection": Way("projection"),
    "projection, 1 Langevin": Way("projection", 1),
    "projection, 4 Langevin": Way("projection", 4),
    "projection, 1 Langevin, snr 0.16": Way("projection", 1, 0.16),
    "projection, 4 Langevin, snr 0.16": Way("projection", 4, 0.16),
    "ddnm": Way("ddnm"),
    "pigdm, isotropic": Way("pigdm"),
    "pigdm, jacobian": Way("pigdm", settings=(("covariance", "jacobian"),)),
    "dps, score": Way("dps"),
    "dps, step, zeta = 0.5": Way("dps", settings=(("form", "step"), ("zeta", 0.5))),
}


def seasonal() -> tuple[Gaussian, np.ndarray]:
    """A prior over 48 months, and which of them are measured: all but months 18 to 29.

    C_ij = exp(-2 sin^2(pi d / 12)) exp(-d / 48) + 0.05 [i = j], d = |i - j|: a year's shape that changes slowly, and
    noise. Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equations 4.31 and 5.16.
    """
    months = np.arange(48)
    distance = np.abs(months[:, None] - months[None])
    season = np.exp(-2 * np.sin(np.pi * distance / 12) ** 2) * np.exp(-distance / 48)
    return Gaussian(np.zeros(48), season + 0.05 * np.eye(48)), (months < 18) | (months >= 30)


@dataclasses.dataclass(frozen=True)
class Laboratory:
    """The seasonal series, measured with noise of `noise_std`; the posterior is known."""

    noise_std: float = 0.0
    num_series: int = 48
    num_samples: int = 56

    @property
    def floor(self) -> float:
        """What the mean of so many exact samples is off by."""
        return self.std / self.num_samples**0.5

    @property
    def std(self) -> float:
        """Root mean square of the posterior's standard deviations, over what is missing."""
        return float(np.sqrt(np.diag(self._cov()).mean()))

    def run(self, way: Way, sde: SDE, times: tuple[float, ...]) -> Errors:
        """Errors of one way to sample."""
        prior, known = seasonal()
        series = np.asarray(prior.sample(0, (self.num_series, 48)), np.float64)
        noise = np.random.default_rng(1).normal(size=series.shape)
        measured = (series + self.noise_std * noise) * known
        y = jnp.asarray(np.repeat(measured, self.num_samples, axis=0), jnp.float32)
        part = METHODS[way.method](
            sde, mask((48,), known), y, self.noise_std, dataclasses.replace(DEFAULTS, **dict(way.settings))
        )
        corrector = langevin(snr=way.snr) if way.corrections else none()
        sampler = PC(sde, part.wrap_step(reverse_diffusion()), corrector, times, way.corrections)
        score_fn = part.wrap_score(prior.score_fn(sde))
        x = jax.jit(lambda key: sampler(key, score_fn, y.shape, constrain=part.constrain).x)(jax.random.key(0))
        samples = np.asarray(x, np.float64).reshape(self.num_series, self.num_samples, 48)[..., ~known]
        expected = (measured[:, known] @ self._gain().T)[:, ~known]
        mean_error = float(np.sqrt(np.mean((samples.mean(axis=1) - expected) ** 2)))
        # The posterior's covariance is the same for all series, so that of all samples around their means is pooled.
        around = (samples - samples.mean(axis=1, keepdims=True)).reshape(-1, samples.shape[-1])
        cov = around.T @ around / (self.num_series * (self.num_samples - 1))
        cov_error = float(np.linalg.norm(cov - self._cov()) / np.linalg.norm(self._cov()))
        return Errors(mean_error, float(np.sqrt(np.diag(cov).mean())), cov_error)

    def _cov(self) -> np.ndarray:
        """The posterior's covariance of what is missing [12, 12]."""
        prior, known = seasonal()
        return (prior.cov - self._gain() @ prior.cov[known])[np.ix_(~known, ~known)]

    def _gain(self) -> np.ndarray:
        """E[x | y] = gain y: [48, 36]."""
        prior, known = seasonal()
        total = prior.cov[np.ix_(known, known)] + self.noise_std**2 * np.eye(known.sum())
        return np.linalg.solve(total, prior.cov[known]).T


def main() -> None:
    """Prints a table for one SDE or for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sde", choices=SDES, action="append")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--steps", type=int, nargs="+", default=NUM_STEPS, help="the one in the middle has all errors")
    parser.add_argument("--series", type=int, default=48)
    parser.add_argument("--samples", type=int, default=56, help="for each series")
    arguments = parser.parse_args()
    laboratory = Laboratory(arguments.noise, arguments.series, arguments.samples)
    middle = arguments.steps[len(arguments.steps) // 2]
    for name in arguments.sde or SDES:
        sde, eps = SDES[name]
        print(f"{name}: floor {laboratory.floor:.3f}, standard deviation of the posterior {laboratory.std:.3f}\n")
        heads = [*(f"{n} steps" for n in arguments.steps), f"std, {middle} steps", f"covariance, {middle} steps"]
        print(f"| method | {' | '.join(heads)} |")
        print("|" + " --- |" * (len(heads) + 1))
        for label in arguments.ways:
            found = {n: laboratory.run(WAYS[label], sde, grids.uniform(n, eps)) for n in arguments.steps}
            cells = [f"{errors.mean_error:.3f}" for errors in found.values()]
            cells += [f"{found[middle].std:.3f}", f"{found[middle].cov_error:.2f}"]
            print(f"| {label} | " + " | ".join(cells) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
