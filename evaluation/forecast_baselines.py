"""Forecasts without a neural network: what every model of series is compared with."""

import dataclasses

import numpy as np

RIDGE = 1.0  # penalty, for windows relative to the mean of their context


@dataclasses.dataclass(frozen=True)
class Forecaster:
    """Forecasts from windows of the train split, for series of one channel.

    windows: [n, context + horizon]; the last `horizon` values are forecast. season: steps until the series
    repeats itself.
    """

    windows: np.ndarray
    horizon: int
    season: int

    def persistence(self, context: np.ndarray) -> np.ndarray:
        """The last value of each context [N, T], [N, horizon]."""
        return np.repeat(context[:, -1:], self.horizon, axis=1)

    def seasonal_naive(self, context: np.ndarray) -> np.ndarray:
        """The last season of each context, as often as needed, [N, horizon]."""
        last = context[:, -self.season :]
        return np.tile(last, (1, -(-self.horizon // self.season)))[:, : self.horizon]

    def ridge(self, context: np.ndarray) -> np.ndarray:
        """Linear regression of the horizon on the context, [N, horizon].

        Windows are relative to the mean absolute value of their context; the penalty is `RIDGE` times the squared norm
        of the coefficients, without the intercept.
        """
        past, future = self._parts(self.windows)
        scale = np.abs(past).mean(axis=1, keepdims=True)
        x, y = past / scale, future / scale
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        gram = (x - x_mean).T @ (x - x_mean) + RIDGE * np.eye(x.shape[1])
        coefficients = np.linalg.solve(gram, (x - x_mean).T @ (y - y_mean))
        own = np.abs(context).mean(axis=1, keepdims=True)
        return ((context / own - x_mean) @ coefficients + y_mean) * own

    def bootstrapped(self, method: str, context: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
        """`num` samples [N, num, horizon]: a forecast plus the residuals of `method` on train windows.

        The residuals of one window stay together, relative to the mean absolute value of its context for "ridge".
        """
        past, future = self._parts(self.windows)
        forecast = getattr(self, method)
        residuals = future - forecast(past)
        factor = np.ones((len(context), 1))
        if method == "ridge":
            residuals = residuals / np.abs(past).mean(axis=1, keepdims=True)
            factor = np.abs(context).mean(axis=1, keepdims=True)
        chosen = residuals[rng.integers(0, len(residuals), (len(context), num))]
        return forecast(context)[:, None] + factor[:, None] * chosen

    def _parts(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return windows[:, : -self.horizon], windows[:, -self.horizon :]


def all_forecasts(forecaster: Forecaster, context: np.ndarray, num: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Samples [N, num or 1, horizon] of every baseline, by its name in tables."""
    rng = np.random.default_rng(seed)
    return {
        "persistence": forecaster.persistence(context)[:, None],
        "seasonal naive": forecaster.seasonal_naive(context)[:, None],
        "seasonal naive, bootstrap": forecaster.bootstrapped("seasonal_naive", context, num, rng),
        "ridge": forecaster.ridge(context)[:, None],
        "ridge, bootstrap": forecaster.bootstrapped("ridge", context, num, rng),
    }


def imputations(values: np.ndarray, season: int) -> dict[str, np.ndarray]:
    """Values [N, L] with those that are NaN replaced, by the name of how.

    "linear_interpolation" repeats the nearest value at the ends; "seasonal_naive" is the mean of the values one season
    before and after, and interpolates where both are missing. 0 where a series has no value.
    """
    linear, times = np.zeros_like(values), np.arange(values.shape[1])
    for row, each in zip(linear, values, strict=True):
        if (known := np.isfinite(each)).any():
            row[:] = np.interp(times, times[known], each[known])
    padded = np.pad(values, ((0, 0), (season, season)), constant_values=np.nan)
    around = np.stack([padded[:, : values.shape[1]], padded[:, 2 * season :]])
    counts = np.isfinite(around).sum(axis=0)
    naive = np.where(counts > 0, np.nansum(around, axis=0) / np.maximum(counts, 1), linear)
    return {name: np.where(np.isnan(values), filled, values) for name, filled in
            (("linear_interpolation", linear), ("seasonal_naive", naive))}  # fmt: skip
