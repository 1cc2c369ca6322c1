"""The task that fills in values of time series, several ways, and scores the samples beside baselines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.metrics import forecasts
from evaluation.metrics.base import mean_over_examples
from evaluation.metrics.crps import crps
from evaluation.rounds import Arrays, Task, check_coverage, join
from reports.records import Column, Estimate

MODEL = "model"
# Round -> "index" [B], "counted" [B], "values" [B, L, C], NaN where missing, and for each kind "KIND_asked" [B, L, C],
# bool, and "KIND_samples" [B, S, L, C].
Fill = Callable[[int], Mapping[str, Any]]
# (kind, values [N, L, C], NaN where missing or asked for, asked [N, L, C]) -> samples [N, S or 1, L, C] by name
Baselines = Callable[[str, np.ndarray, np.ndarray], Mapping[str, np.ndarray]]
SHOWN: tuple[Column, ...] = (
    Column("quantile_loss.value", "quantile loss", "lower", error="quantile_loss.error", rank=1),
    Column("crps.value", "CRPS", "lower", error="crps.error"),
    Column("energy_score.value", "energy score", "lower", error="energy_score.error"),
    Column("deviation.value", "normalized deviation", "lower", error="deviation.error"),
    Column("nrmse.value", "NRMSE", "lower"),
    Column("mase.value", "MASE", "lower", error="mase.error"),
    Column("interval_50.value", "50% interval covers", error="interval_50.error"),
    Column("interval_90.value", "90% interval covers", error="interval_90.error"),
)


def filled_task(
    name: str,
    num_windows: int,
    batch_size: int,
    kinds: Sequence[str],
    fill: Fill,
    baselines: Baselines,
    season: int,
    names: Sequence[str],
) -> Task:
    """Fills every window once in each of several kinds of ways, such as a forecast; padding is dropped.

    The summary has the `scores` of the model and of each baseline, `names`, by kind; columns are those of the model,
    and the quantile loss and CRPS of the baselines. Raises ValueError if rounds do not belong to `num_windows`.
    """

    def run(round_number: int) -> Arrays:
        arrays = {key: np.asarray(value) for key, value in fill(round_number).items()}
        counted = arrays.pop("counted") > 0
        return {key: value[counted] for key, value in arrays.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage(name, joined["index"], num_windows)
        summary: dict[str, Any] = {"num_windows": num_windows}
        for kind in kinds:
            values, asked = joined["values"].astype(np.float64), joined[f"{kind}_asked"]
            seen, truth = np.where(asked, np.nan, values), np.where(asked, values, np.nan)
            found = {MODEL: joined[f"{kind}_samples"], **baselines(kind, seen, asked)}
            summary[kind] = {each: scores(samples, truth, seen, season) for each, samples in found.items()}
        return summary

    columns = [column for kind in kinds for column in _columns(kind, names)]
    return Task(name, -(-num_windows // batch_size), run, summarize, tuple(columns))


def scores(samples: np.ndarray, truth: np.ndarray, seen: np.ndarray, season: int) -> dict[str, Any]:
    """The scores of samples [N, S, L, C], or of points with S = 1, as estimates by name.

    truth [N, L, C]: NaN where nothing is asked, or it is missing. seen [N, L, C]: what was known, NaN elsewhere, which
    scales MASE. The CRPS of a point is its absolute error. Means over windows, with their standard errors; those of
    which nothing is known that is asked for do not count. Empty where there are no others.
    """
    known = np.isfinite(truth)
    kept = known.any(axis=(1, 2))
    if not kept.any():
        return {}
    samples = np.asarray(samples[kept], np.float64)
    known, truth, seen = known[kept], truth[kept], seen[kept]
    filled, true = np.where(known[:, None], samples, 0.0), np.where(known, truth, 0.0)
    error = crps(filled, true)[0] if samples.shape[1] > 1 else np.abs(filled[:, 0] - true)
    each = {
        "quantile_loss": forecasts.quantile_loss(samples, truth),
        "crps": np.where(known, error, 0.0).sum(axis=(1, 2)) / known.sum(axis=(1, 2)),
        "energy_score": np.concatenate(
            [forecasts.energy_score(x[None, :, k], y[None, k]) for x, y, k in zip(filled, true, known, strict=True)]
        ),
        "deviation": forecasts.deviation(samples, truth),
        "mase": forecasts.scaled_error(samples, truth, seen, season),
    }
    if samples.shape[1] > 1:
        each |= {f"interval_{share:.0f}": forecasts.coverage(samples, truth, share / 100) for share in (50, 90)}
    found = {name: mean_over_examples(v[np.isfinite(v)]) for name, v in each.items() if np.isfinite(v).any()}
    found["nrmse"] = Estimate(forecasts.root_mean_square(samples, truth), float("nan"), "none", 0, 0)
    return {name: estimate.to_dict() for name, estimate in found.items()}


def _columns(kind: str, names: Sequence[str]) -> list[Column]:
    """Those of the model, named by their kind, then two of each baseline."""
    found = [_named(column, kind, MODEL, "") for column in SHOWN]
    for name in names:
        for column in SHOWN[:2]:
            found.append(_named(column, kind, name, f" ({name.replace('_', ' ')})"))
    return found


def _named(column: Column, kind: str, method: str, addition: str) -> Column:
    of_model = method == MODEL
    return Column(
        f"{kind}.{method}.{column.path}",
        f"{kind}: {column.heading}{addition}",
        column.better if of_model else None,
        error=column.error and f"{kind}.{method}.{column.error}",
        rank=column.rank if of_model else 0,
    )
