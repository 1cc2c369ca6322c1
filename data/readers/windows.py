"""Windows of time series as examples: scaled by their context, with lagged copies, and masks of missing values.

`series:PATH` is a file (see `data.readers.series`), `series:NAME` one of the series that are included: elnino, co2,
sunspots, nile; `series:aeon:NAME` one that the package aeon has (see `data.sets.aeon`). The last share of each series
is held out: no value of a train window is in it, and the values that a test window forecasts all are. Test windows
follow one another without overlap, so that each value is forecast once; their contexts may reach back before the
border, since they are known when the forecast is made.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data import sets
from data.fields import Field, labeled
from data.notices import warn_once
from data.readers.series import Series, read_series
from data.sets import aeon
from data.source import Examples, Reading, Source

CONTEXT = "context"  # the field with what is observed, for a network that is conditioned on it
INCLUDED = ("elnino", "co2", "sunspots", "nile")
SMALLEST_SCALE = 1e-8  # of a context; below it, a window is not scaled
# Lags by frequency. Source of the first two: Kollovieh et al., NeurIPS 2023, appendix B.
LAGS: dict[str, tuple[int, ...]] = {
    "hourly": tuple(24 * days for days in (1, 2, 3, 4, 5, 6, 7, 14, 21, 28)),
    "daily": tuple(30 * months for months in range(1, 13)),
    "weekly": (52, 104),
    "monthly": (12, 24, 36),
    "quarterly": (4, 8),
}


class Window(NamedTuple):
    """Values [L, C (1 + lags)] relative to `scale` [C], float32, and where they are known, bool of the same shape."""

    values: np.ndarray
    known: np.ndarray
    scale: np.ndarray


@dataclasses.dataclass(frozen=True)
class Windows:
    """A `fetch` of windows of `length`, by the number of their series and of their first value.

    A value is relative to the mean absolute value of the known part of the context, all but the last `horizon` values
    of the window; 1 where that is zero. A missing value is interpolated within its window, the nearest one repeated at
    the ends, and marked by 0 in `x_mask`; lagged copies have the scale of their channel.
    """

    series: Sequence[Series]
    starts: np.ndarray  # int64 [N, 2]
    length: int
    horizon: int
    lags: tuple[int, ...]
    units: tuple[float, float] | None = None  # of the field `context`, if there is one

    def __call__(self, indices: np.ndarray) -> Examples:
        """The windows `indices` [n]: x [n, L, C] float32, x_mask uint8, scale [n, C], label 0, perhaps the context."""
        found = [self.window(*map(int, self.starts[index])) for index in indices]
        x, known = (np.stack([window[k] for window in found]) for k in (0, 1))
        scale, label = np.stack([window.scale for window in found]), np.zeros(len(found), np.int32)
        batch = {"x": x, "x_mask": known.astype(np.uint8), "scale": scale, "label": label}
        if self.units is not None:
            batch[CONTEXT] = context((x - self.units[0]) / self.units[1], known, self.horizon)
        return batch

    def window(self, number: int, start: int) -> Window:
        """The window of series `number` from value `start` on."""
        values = self.series[number].values
        parts = [values[start - lag : start - lag + self.length] for lag in (0, *self.lags)]
        context = np.abs(parts[0][: self.length - self.horizon])
        known = np.isfinite(context)
        scale = np.where(known, context, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        scale = np.where(scale < SMALLEST_SCALE, 1.0, scale).astype(np.float32)
        stacked = np.concatenate([part / scale for part in parts], axis=1)
        return Window(interpolated(stacked), np.isfinite(stacked), scale)


def context(x: np.ndarray, known: np.ndarray, horizon: int) -> np.ndarray:
    """What a network is conditioned on, [n, L, 2 C] float32: the known part of the context of x, else 0, and where."""
    seen = known & (np.arange(x.shape[1]) < x.shape[1] - horizon)[:, None]
    return np.concatenate([np.where(seen, x, 0), seen], axis=-1).astype(np.float32)


def last(series: Series, length: int, horizon: int, lags: tuple[int, ...], ahead: int) -> Window:
    """The window that ends `ahead` unknown values after the end of a series.

    Errors: ValueError for a series that is too short, or whose context there has no known value.
    """
    unknown = np.full((ahead, series.values.shape[1]), np.nan, np.float32)
    extended = dataclasses.replace(series, values=np.concatenate([series.values, unknown]))
    start = len(extended.values) - length
    if start < max(lags, default=0):
        raise ValueError(
            f"{series.name} has {len(series.values)} values, but the context of the model needs "
            f"{length - ahead + max(lags, default=0)}; give a longer series, or train with shorter windows."
        )
    window = Windows([extended], np.array([[0, start]]), length, horizon, lags).window(0, start)
    if not window.known[: length - horizon].any():
        raise ValueError(f"{series.name} has no known value among the last {length - ahead}; give some of them.")
    return window


def interpolated(values: np.ndarray) -> np.ndarray:
    """Values [L, C] with linear interpolation over time where they are NaN; zeros where a channel has none."""
    filled, times = np.zeros_like(values), np.arange(len(values))
    for channel, column in enumerate(values.T):
        known = np.isfinite(column)
        if known.any():
            filled[:, channel] = np.interp(times, times[known], column[known])
    return filled


def open_series(path: str, split: str, reading: Reading) -> Source:
    """The windows of a split. Errors: ValueError, FileNotFoundError, one sentence."""
    if not reading.shape or len(reading.shape) != 2 or not 0 < reading.horizon < reading.shape[0]:
        raise ValueError(
            f"config.data.shape = {reading.shape} and config.data.horizon = {reading.horizon}, but windows of series "
            "need a shape (LENGTH, CHANNELS) and a horizon of 1 to LENGTH - 1: set both."
        )
    if not 0 < reading.test_share < 1:
        raise ValueError(f"config.data.test_share = {reading.test_share} must be above 0 and below 1 for series.")
    shape, units = tuple(reading.shape), reading.context_units
    return _windows(path, split, shape, reading.horizon, reading.lags, reading.test_share, units)


def load(path: str) -> list[Series]:
    """The series of a file, or the included one of that name, or one of the package aeon."""
    if path.startswith(aeon.FORM):
        return read_series(aeon.path_of(path.removeprefix(aeon.FORM)))
    return read_series(pathlib.Path(sets.__path__[0]) / f"{path}.csv" if path in INCLUDED else pathlib.Path(path))


def lags_of(text: str, series: Sequence[Series]) -> tuple[int, ...]:
    """The lags that `data.lags` means. Errors: ValueError for a frequency without any, or several frequencies."""
    if text != "frequency":
        return () if text == "none" else tuple(map(int, text.split(",")))
    frequencies = sorted({each.frequency for each in series})
    if len(frequencies) != 1 or frequencies[0] not in LAGS:
        raise ValueError(
            f"config.data.lags = 'frequency', but the frequency of the series is "
            f"{' and '.join(name or 'not known' for name in frequencies)}; lags are known of those that are "
            f"{', '.join(LAGS)}: give numbers such as '12,24', or 'none'."
        )
    return LAGS[frequencies[0]]


@functools.lru_cache(maxsize=4)  # the shape of the data is asked for before the data
def _windows(
    path: str,
    split: str,
    shape: tuple[int, int],
    horizon: int,
    lags_text: str,
    share: float,
    units: tuple[float, float] | None,
) -> Source:
    series = load(path)
    lags, (length, channels) = lags_of(lags_text, series), shape
    for each in series:
        width = each.values.shape[1] * (1 + len(lags))
        if width != channels:
            raise ValueError(
                f"config.data.shape = {shape}, but {each.name} of {path} has {each.values.shape[1]} channels with "
                f"{len(lags)} lags each: {width} in all; set config.data.shape = ({length}, {width})."
            )
    starts = [
        (k, start) for k, each in enumerate(series) for start in _starts(each, split, length, horizon, lags, share)
    ]
    if not starts:
        longest, needed = max(len(each.values) for each in series), length + max(lags, default=0)
        raise ValueError(
            f"{path} has no {split} window of {length} values with lags up to {max(lags, default=0)}: its longest "
            f"series has {longest} values, and the last {share:.0%} of them are held out; give at least {needed} "
            "before those, or shorter windows by config.data.shape and config.data.horizon."
        )
    fetch = Windows(series, np.asarray(starts), length, horizon, lags, units)
    base = series[0].values.shape[1]
    others = {"x_mask": Field(shape, "uint8", 2), "scale": Field((base,))}
    if units is not None:
        others[CONTEXT] = Field((length, 2 * channels))
    return Source(f"series:{path}", len(starts), labeled(Field(shape)) | others, fetch)


def _starts(series: Series, split: str, length: int, horizon: int, lags: tuple[int, ...], share: float) -> list[int]:
    """The first values of the windows of a series; without those whose context or forecast has no known value."""
    total, first = len(series.values), max(lags, default=0)
    border, context = total - int(total * share), length - horizon
    found = (
        range(first, border - length + 1)
        if split == "train"
        else [end - context for end in range(border, total - horizon + 1, horizon) if end - context >= first]
    )
    known = np.isfinite(series.values).all(axis=1)
    kept = [s for s in found if known[s : s + context].any() and known[s + context : s + length].any()]
    if len(kept) < len(found):
        warn_once(f"{len(found) - len(kept)} {split} windows of {series.name} have no known value and are left out")
    return kept
