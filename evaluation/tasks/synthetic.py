"""How useful synthetic series are: forecasts of real ones by a regression that has seen only synthetic ones."""

from typing import Any

import numpy as np

from evaluation.forecast_baselines import Forecaster
from evaluation.metrics.base import mean_over_examples
from reports.records import Column

PREDICTIVE = (
    Column("predictive_score.value", "linear predictive score", "lower", error="predictive_score.error", rank=1),
    Column("predictive_score_of_real.value", "linear predictive score of real", error="predictive_score_of_real.error"),
    Column("predictive_ratio", "linear predictive score / real", "lower"),
)


def predictive_scores(
    synthetic: np.ndarray, real: np.ndarray, context: np.ndarray, future: np.ndarray
) -> dict[str, Any]:
    """The linear predictive score: the CRPS of a ridge regression that is trained on synthetic windows [n, L, C].

    It forecasts the future [N, H, C], NaN where it is missing, of real windows from their context [N, T, C], channel by
    channel; the CRPS of a point is its absolute error. "predictive_score_of_real" is that of a regression on `real`
    windows [m, L, C], and "predictive_ratio" the one over the other.
    Source: Kollovieh et al., "Predict, Refine, Synthesize", NeurIPS 2023, section 4.3.
    """
    found = {}
    for name, windows in (("predictive_score", synthetic), ("predictive_score_of_real", real)):
        forecasts = [
            Forecaster(np.asarray(windows[..., c], np.float64), future.shape[1], 1).ridge(context[..., c])
            for c in range(future.shape[2])
        ]
        error = np.abs(np.stack(forecasts, axis=-1) - future)
        found[name] = mean_over_examples(np.nanmean(error.reshape(len(error), -1), axis=1))
    synthetic_score, real_score = found.values()
    ratio = synthetic_score.value / max(real_score.value, np.finfo(float).tiny)
    return {name: estimate.to_dict() for name, estimate in found.items()} | {"predictive_ratio": ratio}
