"""The likelihood of test windows under a trained model of series, beside a Gaussian's and an autoregression's.

    python -m benchmarks.series_likelihood WORKDIR [--series elnino] [--time 0.005] [--lags 3]

Windows are relative to the mean of their context, whose values therefore have a mean of exactly one: without noise,
their density is infinite. All densities are those of windows with the noise of `--time`, m x + std z, in nats per
dimension as the network sees them; lower is better. The model's is exact: the probability-flow ODE with the exact
divergence. The Gaussian has mean and covariance of the training windows; the autoregression, by statsmodels (a VAR of
one channel), is that of the training series around the means of its seasons, given the scale of each window.
"""

import argparse

import jax.numpy as jnp
import numpy as np
from scipy.stats import multivariate_normal

import run_lib
from benchmarks.series_baselines import PROBLEMS
from builders.process import make_sde
from data.readers import windows
from data.source import Reading


class Noisy:
    """Train and test windows [n, L] as the network sees them, and test windows with the noise of a time."""

    def __init__(self, model: run_lib.Model, name: str, time: float):
        problem = PROBLEMS[name]
        reading = Reading(shape=(problem.context + problem.horizon, 1), horizon=problem.horizon)
        self.offset, self.factor = model.config.data.offset, model.config.data.scale
        train, test = (windows.open_series(name, split, reading) for split in ("train", "test"))
        self.train, batch = (source.fetch(np.arange(len(source))) for source in (train, test))
        self.x, self.scale = self._scaled(batch["x"]), batch["scale"][:, 0]
        assert isinstance(test.fetch, windows.Windows)
        self.starts = np.asarray([start for _, start in test.fetch.starts])
        sde = make_sde(model.config).continuous_limit
        self.m, self.std = float(sde.mean_coeff(jnp.asarray(time))), float(sde.std(jnp.asarray(time)))
        z = np.random.default_rng(0).normal(size=self.x.shape)
        self.noisy = self.m * self.x + self.std * z

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return (x[..., 0].astype(np.float64) - self.offset) / self.factor

    def nats(self, mean: np.ndarray, cov: np.ndarray, index: int) -> float:
        """-log p / D of a noisy test window under a Gaussian of windows without noise."""
        noisy_cov = self.m**2 * cov + self.std**2 * np.eye(len(cov))
        return -float(multivariate_normal(self.m * mean, noisy_cov).logpdf(self.noisy[index])) / len(mean)

    def gaussian(self) -> list[float]:
        """That of the training windows."""
        train = self._scaled(self.train["x"])
        mean, cov = train.mean(axis=0), np.cov(train.T)
        return [self.nats(mean, cov, k) for k in range(len(self.x))]

    def autoregression(self, name: str, season: int, lags: int) -> list[float]:
        """An AR(lags) around the means of the seasons of the part of the series that is not held out."""
        try:
            from statsmodels.tsa.ar_model import AutoReg
            from statsmodels.tsa.arima_process import ArmaProcess
        except ImportError:
            raise SystemExit("The autoregression needs statsmodels; run `pip install statsmodels==0.15.0`.") from None

        series = windows.interpolated(windows.load(name)[0].values)[:, 0].astype(np.float64)
        known = series[: len(series) - int(0.25 * len(series))]
        means = np.array([known[k::season].mean() for k in range(season)])
        fitted = AutoReg(known - means[np.arange(len(known)) % season], lags, trend="n").fit()
        length = self.x.shape[1]
        acov = ArmaProcess.from_coeffs(fitted.params).acovf(length) * fitted.sigma2
        cov = acov[np.abs(np.subtract.outer(np.arange(length), np.arange(length)))]
        found = []
        for k, (start, scale) in enumerate(zip(self.starts, self.scale, strict=True)):
            mean = (means[(start + np.arange(length)) % season] / scale - self.offset) / self.factor
            found.append(self.nats(mean, cov / (scale * self.factor) ** 2, k))
        return found

    def model(self, model: run_lib.Model) -> np.ndarray:
        """By the probability-flow ODE; `log_likelihood` is that of values in the units of the data."""
        values = (self.noisy * self.factor + self.offset)[..., None].astype(np.float32)
        return -model.log_likelihood(values) / values.shape[1] - np.log(self.factor)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir")
    parser.add_argument("--series", choices=windows.INCLUDED, default="elnino")
    parser.add_argument("--time", type=float, default=0.005, help="of the noise")
    parser.add_argument("--lags", type=int, default=3, help="of the autoregression")
    arguments = parser.parse_args()
    settings = {"eval.bpd_eps": arguments.time, "eval.divergence": "exact", "eval.bpd_offset": "at_eps"}
    model = run_lib.load(arguments.workdir, settings=settings)
    found = Noisy(model, arguments.series, arguments.time)
    print(f"{arguments.series}, {len(found.x)} windows, noise with a standard deviation of {found.std:.3f}\n")
    print("| density | nats/dim |\n| --- | --- |")
    season = PROBLEMS[arguments.series].season
    for label, values in (
        ("Gaussian", found.gaussian()),
        (f"autoregression, {arguments.lags} lags", found.autoregression(arguments.series, season, arguments.lags)),
        ("model", found.model(model)),
    ):
        print(f"| {label} | {np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f} |", flush=True)


if __name__ == "__main__":
    main()
