"""Evaluations of models of time series: forecast, imputation and synthesis, beside baselines without a network."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.pipeline import eval_batch
from data.readers import windows
from data.readers.series import Series
from evaluation.forecast_baselines import Forecaster, all_forecasts, imputations
from evaluation.rounds import Arrays, Task
from evaluation.tasks.filled import Baselines, filled_task
from evaluation.tasks.synthetic import PREDICTIVE, predictive_scores
from sampling.inverse.operators.mask import mask
from systems.requests.base import to_levels, to_network
from systems.requests.posterior import Posterior
from systems.requests.series import FORM, context_of, posterior_of
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has these as evaluations
    from systems.diffusion import Diffusion

LARGEST = 10_000  # training windows of a baseline
NUM_BASELINE = 200  # samples of a bootstrap
SEASONS = {"hourly": 24, "daily": 7, "weekly": 52, "monthly": 12, "quarterly": 4}  # others are 1
Asked = Callable[[int, int, int, int], np.ndarray]  # (seed, number of the window, L, horizon) -> what is asked [L]


def _ahead(seed: int, index: int, length: int, horizon: int) -> np.ndarray:
    return np.arange(length) >= length - horizon


def _random(seed: int, index: int, length: int, horizon: int) -> np.ndarray:
    """Half of the values."""
    return np.random.default_rng([seed, index]).permutation(length) < length // 2


def _block(seed: int, index: int, length: int, horizon: int) -> np.ndarray:
    """A quarter of the values, in the middle."""
    times = np.arange(length)
    return (times >= 3 * length // 8) & (times < 5 * length // 8)


FORECAST: dict[str, Asked] = {"forecast": _ahead}
IMPUTATION: dict[str, Asked] = {"random": _random, "block": _block}
FORECASTS = ("persistence", "seasonal_naive", "seasonal_naive_bootstrap", "ridge", "ridge_bootstrap")
IMPUTATIONS = ("linear_interpolation", "seasonal_naive")


def forecast_task(system: "Diffusion", number: int, variables: Variables | None) -> Task:
    """What follows the context of each test window, beside five baselines."""

    def baselines(kind: str, seen: np.ndarray, asked: np.ndarray) -> Mapping[str, np.ndarray]:
        horizon, train = system.config.data.horizon, _train(system)
        context = np.stack([windows.interpolated(each) for each in seen[:, :-horizon]])
        channels = [
            all_forecasts(Forecaster(train[..., c], horizon, min(season(system), context.shape[1])), context[..., c],
                          NUM_BASELINE)
            for c in range(seen.shape[2])
        ]  # fmt: skip
        ahead = ((0, 0), (0, 0), (context.shape[1], 0), (0, 0))
        return {
            name.replace(", ", "_").replace(" ", "_"): np.pad(np.stack([c[name] for c in channels], axis=-1), ahead)
            for name in channels[0]
        }

    return _task(system, "forecast", FORECAST, baselines, FORECASTS, number, variables)


def imputation_task(system: "Diffusion", number: int, variables: Variables | None) -> Task:
    """Half of the values of each test window at random, and a block of a quarter, beside two baselines."""

    def baselines(kind: str, seen: np.ndarray, asked: np.ndarray) -> Mapping[str, np.ndarray]:
        channels = [imputations(seen[..., c], season(system)) for c in range(seen.shape[2])]
        return {name: np.stack([each[name] for each in channels], axis=-1)[:, None] for name in IMPUTATIONS}

    return _task(system, "imputation", IMPUTATION, baselines, IMPUTATIONS, number, variables)


def synthesis_task(system: "Diffusion", number: int, variables: Variables | None) -> Task:
    """New windows; a ridge regression learns to forecast from them, or from real ones, and is tested on real ones."""
    task, horizon = system.samples_task(number, variables)._replace(name="synthesis"), system.config.data.horizon
    source = system.context.splits.test

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        batch = source.fetch(np.arange(len(source)))
        real, own = _in_units(batch), batch["scale"].shape[1]
        synthetic = np.concatenate([arrays["samples"][..., :own] for arrays in rounds])
        context = np.stack([windows.interpolated(each) for each in real[:, :-horizon]])
        found = predictive_scores(synthetic, _train(system), context, real[:, -horizon:])
        return task.summarize(rounds) | found

    return task._replace(summarize=summarize, columns=(*task.columns, *PREDICTIVE))


def season(system: "Diffusion") -> int:
    """`eval.season`, or what the frequency of the series says."""
    return system.config.eval.season or SEASONS.get(_series(system)[0].frequency, 1)


def _series(system: "Diffusion") -> list[Series]:
    return windows.load(str(system.config.data.dataset).removeprefix(FORM))


def _in_units(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """The windows [B, L, C] in the units of the series, without lags, NaN where they are missing."""
    own = batch["scale"].shape[1]
    values = np.where(batch["x_mask"] != 0, batch["x"], np.nan)[..., :own]
    return np.asarray(values * batch["scale"][:, None], np.float64)


def _train(system: "Diffusion") -> np.ndarray:
    """Training windows [n, L, C] as `_in_units`, interpolated; evenly spaced where there are many."""
    source = system.context.splits.train
    chosen = np.unique(np.linspace(0, len(source) - 1, min(len(source), LARGEST)).astype(int))
    return np.stack([windows.interpolated(each) for each in _in_units(source.fetch(chosen))])


@dataclasses.dataclass(frozen=True)
class _Filler:
    """Samples of what is asked of test windows, by the method of the config; compiled once."""

    system: "Diffusion"
    number: int
    variables: Variables | None

    @functools.cached_property
    def _posterior(self) -> Posterior:
        return posterior_of(self.system)

    @functools.cached_property
    def _lags(self) -> tuple[int, ...]:
        return windows.lags_of(self.system.config.data.lags, _series(self.system))

    def __call__(self, batch: Mapping[str, np.ndarray], asked: np.ndarray) -> np.ndarray:
        """Samples [B, S, L, C] of the windows of a batch, in their own units.

        asked [B, L]: what is sampled; the scale of a window is that of what is left of its context.
        """
        system, variables, scale = self.system, self.variables, batch["scale"]
        assert variables is not None
        own, num = scale.shape[1], system.config.eval.posterior_samples
        known = (batch["x_mask"] != 0) & ~hidden(asked, self._lags, own)
        context = known[:, : -system.config.data.horizon, :own]
        sizes = np.where(context, np.abs(batch["x"][:, : context.shape[1], :own]), 0)
        size = sizes.sum(axis=1) / np.maximum(context.sum(axis=1), 1)  # in units of `scale`
        size = np.where(size < windows.SMALLEST_SCALE, 1.0, size).astype(np.float32)
        x = batch["x"] / np.tile(size, known.shape[2] // own)[:, None]
        y = np.where(known, to_network(system, x), 0.0)
        operator = mask(system.spec.shape, known)
        given, index = context_of(system, known, y), batch["index"]
        drawn = self._posterior(operator, y, num, variables, self.number, given, index)
        return to_levels(system, drawn["samples"])[..., :own] * (size * scale)[:, None, None]


def _task(
    system: "Diffusion",
    name: str,
    kinds: Mapping[str, Asked],
    baselines: Baselines,
    names: tuple[str, ...],
    number: int,
    variables: Variables | None,
) -> Task:
    source, settings, data = system.context.splits.test, system.config.eval, system.config.data
    size, filler = max(1, settings.batch_size // settings.posterior_samples), _Filler(system, number, variables)

    def fill(turn: int) -> dict[str, Any]:
        batch = eval_batch(source, turn, size)
        values = _in_units(batch)
        found: dict[str, Any] = {"index": batch["index"], "counted": batch["counted"], "values": values}
        for kind, make in kinds.items():
            asked = np.stack([make(system.config.seed, int(i), values.shape[1], data.horizon) for i in batch["index"]])
            found[f"{kind}_samples"] = filler(batch, asked)
            found[f"{kind}_asked"] = np.broadcast_to(asked[..., None], values.shape)
        return found

    return filled_task(name, len(source), size, tuple(kinds), fill, baselines, season(system), names)


def hidden(asked: np.ndarray, lags: tuple[int, ...], own: int) -> np.ndarray:
    """Where values [B, L, C (1 + lags)] are asked for, or copies of such values, for `asked` [B, L]."""
    parts = [np.pad(asked, ((0, 0), (lag, 0)))[:, : asked.shape[1]] for lag in (0, *lags)]
    return np.repeat(np.stack(parts, axis=-1), own, axis=-1)


EVALUATIONS: dict[str, Callable[["Diffusion", int, Variables | None], Task]] = {
    "forecast": forecast_task,
    "imputation": imputation_task,
    "synthesis": synthesis_task,
}
