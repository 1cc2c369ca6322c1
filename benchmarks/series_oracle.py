"""Forecasts of a Gaussian process with a perfect model, compared with the exact posterior: what each way costs.

    python -m benchmarks.series_oracle [--trials 300] [--samples 100]

The series are stationary, seasonal Gaussian processes of 48 months (see `process`); the first 36 are observed and the
last twelve forecast, by 100 ancestral steps of the published schedule of TSDiff, beta from 1e-4 to 0.1. The prediction
is exact, so all errors are those of the conditioning and of the schedule, which leaves 7.5% of the signal at its end.
Prints a Markdown table: the CRPS of the samples with its standard error over trials; the root mean square difference
between their mean and that of the exact posterior, with a floor from the number of samples; and the ratio of their
standard deviation to that of the exact posterior.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.metrics.crps import crps
from sampling import grids
from sampling.inverse.base import Conditioned
from sampling.inverse.operators.mask import mask
from sampling.inverse.pigdm import pigdm
from sampling.inverse.projection import projection
from sampling.observation_guidance import observation_guidance, quantile_levels
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.langevin import annealed_langevin
from sampling.steps.none import none
from sde.chain import ddpm_chain
from tests.support.oracles import Gaussian

MONTHS, OBSERVED = 48, 36
CHAIN = ddpm_chain(0.01, 10.0, 100)  # betas from 1e-4 to 0.1
KNOWN = np.arange(MONTHS) < OBSERVED
LANGEVIN_STEP = 0.2  # size of a correction in units of the variance of the noise


class Scores(NamedTuple):
    """CRPS and its standard error over trials; error of the mean; standard deviation relative to the exact one."""

    crps: float
    standard_error: float
    mean_error: float
    std_ratio: float


@dataclasses.dataclass(frozen=True)
class Forecasts:
    """`num_trials` series with their exact posterior, and samples of each way of forecasting them."""

    num_trials: int = 300
    num_samples: int = 100

    @property
    def floor(self) -> float:
        """The root mean square error of the mean of `num_samples` exact samples."""
        return float(np.sqrt(np.diag(_posterior()[1]).mean() / self.num_samples))

    @functools.cached_property
    def series(self) -> np.ndarray:
        """The series [trials, MONTHS]."""
        return np.asarray(process().sample(0, (self.num_trials, MONTHS)), np.float64)

    def run(self, way: "Way") -> Scores:
        """The scores of a way of forecasting."""
        y = jnp.asarray(np.repeat(self.series * KNOWN, self.num_samples, axis=0), jnp.float32)
        level = jnp.tile(quantile_levels(jnp.arange(self.num_samples), self.num_samples), self.num_trials)
        corrector = annealed_langevin(snr=(LANGEVIN_STEP / 2) ** 0.5) if way.corrections else none()
        times = grids.log_snr(CHAIN, CHAIN.num_scales, 0.0)
        sampler = pc(CHAIN, ancestral(), corrector, times, num_corrector_steps=way.corrections)

        @jax.jit
        def sample(key: jax.Array, y: jax.Array, level: jax.Array) -> jax.Array:
            conditioned = way.condition(y, level)
            predict = conditioned.wrap_predict(process().predict(CHAIN))
            return sampler(key, predict, y.shape, constrain=conditioned.constrain).x

        x = np.asarray(sample(jax.random.key(0), y, level), np.float64)
        return self.scores(x.reshape(self.num_trials, self.num_samples, MONTHS)[..., ~KNOWN])

    def exact(self) -> Scores:
        """The scores of samples of the exact posterior."""
        gain, cov = _posterior()
        size = (self.num_trials, self.num_samples)
        noise = np.random.default_rng(1).multivariate_normal(np.zeros(MONTHS - OBSERVED), cov, size)
        return self.scores((self.series[:, KNOWN] @ gain.T)[:, None] + noise)

    def scores(self, forecasts: np.ndarray) -> Scores:
        """The scores of forecasts [trials, samples, MONTHS - OBSERVED]."""
        gain, cov = _posterior()
        each = crps(forecasts, self.series[:, ~KNOWN])[0].mean(axis=1)
        error = forecasts.mean(axis=1) - self.series[:, KNOWN] @ gain.T
        ratio = np.sqrt(forecasts.var(axis=1, ddof=1).mean() / np.diag(cov).mean())
        standard_error = each.std(ddof=1) / np.sqrt(len(each))
        return Scores(float(each.mean()), float(standard_error), float(np.sqrt((error**2).mean())), float(ratio))


class Way(NamedTuple):
    """A way of forecasting: what it changes in a sampler, given y [B, MONTHS] and quantile levels [B]."""

    condition: Callable[[jax.Array, jax.Array], Conditioned]
    corrections: int = 0


def process() -> Gaussian:
    """A season that drifts over eight years, weather that lasts half a year, and noise; of unit variance.

        C_ij = 0.6 cos(2 pi d / 12) exp(-d / 96) + 0.2 exp(-d / 6) + 0.2 [i = j],    d = |i - j|

    The CRPS of the exact posterior of the last year is 0.4145.
    """
    d = np.abs(np.subtract.outer(np.arange(MONTHS), np.arange(MONTHS)))
    season = 0.6 * np.cos(2 * np.pi * d / 12) * np.exp(-d / 96)
    return Gaussian(np.zeros(MONTHS), season + 0.2 * np.exp(-d / 6) + 0.2 * np.eye(MONTHS))


def _posterior() -> tuple[np.ndarray, np.ndarray]:
    """The matrix of E[forecast | observed] = gain observed [12, 36], and the covariance of the forecast [12, 12]."""
    cov = process().cov
    gain = np.linalg.solve(cov[np.ix_(KNOWN, KNOWN)], cov[np.ix_(KNOWN, ~KNOWN)]).T
    return gain, cov[np.ix_(~KNOWN, ~KNOWN)] - gain @ cov[np.ix_(KNOWN, ~KNOWN)]


def _guidance(loss: Literal["mean_square", "quantile"], scale: float) -> Way:
    return Way(
        lambda y, level: observation_guidance(CHAIN, mask((MONTHS,), KNOWN), y, loss=loss, scale=scale, level=level)
    )


def _replacement(corrections: int) -> Way:
    return Way(lambda y, level: projection(CHAIN, mask((MONTHS,), KNOWN), y), corrections)


WAYS: dict[str, Way] = {
    "unconditional": Way(lambda y, level: Conditioned()),
    **{f"replacement, {n} Langevin": _replacement(n) for n in (0, 1, 4)},
    "Pi-GDM, exact covariance": Way(
        lambda y, level: pigdm(CHAIN, mask((MONTHS,), KNOWN), y, covariance="jacobian", num_iterations=OBSERVED)
    ),
    **{f"mean square, scale {s:g}": _guidance("mean_square", s) for s in (0.5, 1.0, 2.0, 4.0)},
    **{f"quantile, scale {s:g}": _guidance("quantile", s) for s in (2.0, 4.0, 8.0, 16.0)},
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--samples", type=int, default=100, help="samples per trial")
    arguments = parser.parse_args()
    forecasts = Forecasts(arguments.trials, arguments.samples)
    print(f"Floor of the error of the mean: {forecasts.floor:.3f}\n")
    print("| conditioning | CRPS | error of the mean | standard deviation, relative |")
    print("| --- | --- | --- | --- |")
    rows: dict[str, Callable[[], Scores]] = {"exact posterior": forecasts.exact}
    rows |= {label: functools.partial(forecasts.run, way) for label, way in WAYS.items()}
    for label, scored in rows.items():
        found = scored()
        cells = f"{found.crps:.4f} ± {found.standard_error:.4f} | {found.mean_error:.3f} | {found.std_ratio:.2f}"
        print(f"| {label} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
