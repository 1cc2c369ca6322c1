"""Scores of forecasts against closed forms, and forecasts without a model against what they are defined as."""

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import series_baselines
from evaluation.forecast_baselines import Forecaster, all_forecasts, imputations
from evaluation.metrics import forecasts
from evaluation.metrics.base import Ensembles
from evaluation.metrics.crps import crps
from evaluation.metrics.table import measure
from evaluation.tasks import filled
from evaluation.tasks.synthetic import predictive_scores

RNG = np.random.default_rng(0)


def test_the_quantile_loss_of_a_gaussian_is_that_of_its_quantiles():
    """E[q (y - f) + (f - y) 1{y < f}] = sigma density(quantile) at the true quantile f, of a standard normal."""
    samples, truth = RNG.normal(size=(1, 400_000)), RNG.normal(size=(1, 1))
    levels = np.array(forecasts.LEVELS)
    f = norm.ppf(levels)
    expected = 2 * np.mean(np.maximum(levels * (truth[0] - f), (levels - 1) * (truth[0] - f))) / abs(truth[0, 0])
    found = forecasts.quantile_loss(samples[..., None], truth)
    np.testing.assert_allclose(found, expected, rtol=0.02)  # quantiles of 400,000 samples, to 0.003


def test_of_a_point_the_quantile_loss_is_the_normalized_deviation():
    samples, truth = RNG.normal(size=(5, 1, 3)), RNG.normal(size=(5, 3))
    expected = np.abs(samples[:, 0] - truth).sum() / np.abs(truth).sum()
    assert forecasts.quantile_loss(samples, truth).mean() == pytest.approx(expected)
    assert forecasts.deviation(samples, truth).mean() == pytest.approx(expected)


def test_what_is_missing_does_not_count():
    samples, truth = RNG.normal(size=(4, 9, 3)), RNG.normal(size=(4, 3))
    gaps = truth.copy()
    gaps[:, 1] = np.nan
    kept = samples[:, :, [0, 2]], truth[:, [0, 2]]
    for score in (forecasts.quantile_loss, forecasts.deviation, lambda s, y: forecasts.coverage(s, y, 0.5)):
        np.testing.assert_allclose(score(samples, gaps), score(*kept))
    assert forecasts.root_mean_square(samples, gaps) == pytest.approx(forecasts.root_mean_square(*kept))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_intervals_of_the_true_distribution_hold_their_share(share):
    samples, truth = RNG.normal(size=(4000, 400, 1)), RNG.normal(size=(4000, 1))
    found = forecasts.coverage(samples, truth, share).mean()
    assert abs(found - share) < 4 * (share * (1 - share) / 4000) ** 0.5


def test_the_energy_score_of_one_value_is_its_crps_and_of_several_that_of_the_definition():
    samples, truth = RNG.normal(size=(6, 20, 3)), RNG.normal(size=(6, 3))
    one = forecasts.energy_score(samples[..., :1], truth[:, :1])
    np.testing.assert_allclose(one, crps(samples[..., 0], truth[:, 0])[0])
    pairs = np.linalg.norm(samples[:, :, None] - samples[:, None], axis=-1).mean((1, 2)) / 2
    expected = np.linalg.norm(samples - truth[:, None], axis=-1).mean(1) - pairs
    np.testing.assert_allclose(forecasts.energy_score(samples, truth), expected)


def test_the_scaled_error_of_the_seasonal_naive_forecast_of_a_random_walk_of_seasons_is_about_one():
    steps = np.cumsum(RNG.normal(size=(3000, 5, 4)), axis=1).reshape(3000, 20)
    context, future = steps[:, :16], steps[:, 16:]
    found = forecasts.scaled_error(context[:, None, -4:], future, context, 4)
    assert np.median(found) == pytest.approx(1.0, abs=0.05)
    assert np.isnan(forecasts.scaled_error(future[:, None], future, np.ones((3000, 16)), 4)).all()
    assert np.isnan(forecasts.scaled_error(future[:, None], future, context, 16)).all()


def test_the_table_of_metrics_has_them_with_error_bars():
    given = Ensembles(RNG.normal(size=(50, 30, 4)), RNG.normal(size=(50, 4)))
    found = measure(ensembles=given, names=("energy_score", "quantile_loss", "interval_50", "interval_coverage"))
    assert all(0 < estimate.error < estimate.value for estimate in found.values())


def seasonal(num, length, period, seed=0):
    """Windows of a noisy line of seasons."""
    rng = np.random.default_rng(seed)
    start, times = rng.uniform(0, period, (num, 1)), np.arange(length)
    return 5 + np.sin(2 * np.pi * (times + start) / period) + 0.1 * rng.normal(size=(num, length))


def test_the_baselines_forecast_what_they_say():
    forecaster = Forecaster(seasonal(400, 30, 6), 9, 6)
    context = np.arange(21.0)[None]
    np.testing.assert_array_equal(forecaster.persistence(context)[0], [20] * 9)
    np.testing.assert_array_equal(forecaster.seasonal_naive(context)[0], [15, 16, 17, 18, 19, 20, 15, 16, 17])
    test = seasonal(200, 30, 6, seed=1)
    found = all_forecasts(forecaster, test[:, :21], 200)
    losses = {name: forecasts.quantile_loss(samples, test[:, 21:]).mean() for name, samples in found.items()}
    assert losses["ridge, bootstrap"] < losses["ridge"] < losses["seasonal naive"] < losses["persistence"]
    assert losses["seasonal naive, bootstrap"] < losses["seasonal naive"]
    for name in ("ridge, bootstrap", "seasonal naive, bootstrap"):  # stationary, so that residuals repeat themselves
        assert forecasts.coverage(found[name], test[:, 21:], 0.9).mean() == pytest.approx(0.9, abs=0.03)


def test_the_ridge_forecast_scales_with_its_context():
    forecaster = Forecaster(seasonal(50, 30, 6), 9, 6)
    context = seasonal(3, 21, 6, seed=2)
    np.testing.assert_allclose(forecaster.ridge(10 * context), 10 * forecaster.ridge(context))
    samples = [forecaster.bootstrapped("ridge", s * context, 7, np.random.default_rng(3)) for s in (1, 10)]
    np.testing.assert_allclose(samples[1], 10 * samples[0])


def test_the_baselines_of_sea_surface_temperatures_are_those_of_the_documentation():
    found = series_baselines.windows("elnino")
    assert (len(found.train), len(found.future)) == (490, 15)
    problem = series_baselines.PROBLEMS["elnino"]
    forecaster = Forecaster(found.train, problem.horizon, problem.season)
    losses = {
        name: forecasts.quantile_loss(samples, found.future).mean()
        for name, samples in all_forecasts(forecaster, found.context, 1000).items()
    }
    expected = {"persistence": 0.1129, "seasonal naive": 0.0527, "ridge": 0.0376}
    assert {name: round(losses[name], 4) for name in expected} == expected
    # A bootstrap of 1,000 samples: to 0.0005 from one seed to another.
    assert losses["seasonal naive, bootstrap"] == pytest.approx(0.0437, abs=1e-3)
    assert losses["ridge, bootstrap"] == pytest.approx(0.0294, abs=1e-3)


def test_the_baselines_of_carbon_dioxide_leave_its_gaps_out():
    found = series_baselines.windows("co2")
    assert len(found.future) == 10 and np.isfinite(found.context).all() and np.isfinite(found.train).all()


def test_missing_values_are_interpolated_or_taken_from_other_seasons():
    values = np.array([[1.0, np.nan, 3.0, np.nan, 5.0, 7.0, np.nan]])
    found = imputations(values, 3)
    np.testing.assert_allclose(found["linear_interpolation"], [[1, 2, 3, 4, 5, 7, 7]])
    np.testing.assert_allclose(found["seasonal_naive"], [[1, 5, 3, 1, 5, 7, 7]])  # the last has a gap one season before


def test_of_what_is_asked_only_what_is_known_counts():
    """Scores of windows with gaps are those of the values without, each by its definition."""
    samples, truth = RNG.normal(size=(6, 20, 4, 1)), RNG.normal(size=(6, 4, 1))
    seen = np.where(np.arange(4)[:, None] < 2, truth, np.nan)
    asked = np.where(np.arange(4)[:, None] == 3, truth, np.nan)
    found = filled.scores(samples, asked, seen, 1)
    assert found["crps"]["value"] == pytest.approx(crps(samples[:, :, 3, 0], truth[:, 3, 0])[0].mean())
    assert found["energy_score"]["value"] == pytest.approx(found["crps"]["value"])  # of one value
    point = filled.scores(truth[:, None] + 1, asked, seen, 1)
    assert point["crps"]["value"] == pytest.approx(1) and "interval_50" not in point
    assert point["mase"]["value"] == pytest.approx(np.mean(1 / np.abs(truth[:, 1] - truth[:, 0])))
    one_missing = np.where(np.arange(6)[:, None, None] == 0, np.nan, asked)
    assert filled.scores(samples, one_missing, np.full_like(seen, np.nan), 1)["crps"]["num_examples"] == 5
    assert filled.scores(samples, np.full_like(asked, np.nan), seen, 1) == {}


def test_a_regression_on_the_same_windows_scores_as_on_real_ones():
    windows = 20 + np.random.default_rng(0).normal(size=(40, 1, 2)) * np.arange(8)[:, None]  # straight lines
    found = predictive_scores(windows[::-1], windows, windows[:, :6], windows[:, 6:])
    assert found["predictive_ratio"] == pytest.approx(1)
    constant = predictive_scores(np.full((40, 8, 2), 20.0), windows, windows[:, :6], windows[:, 6:])
    assert constant["predictive_ratio"] > 2
