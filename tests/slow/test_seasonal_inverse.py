"""Every method for inverse problems on the seasonal Gaussian of `benchmarks.inverse`, whose posterior is known."""

import pytest

from benchmarks import inverse as benchmark
from sampling import grids

# By method: the error of the posterior mean after a hundred steps, including 0.07 from averaging 56 samples.
LABORATORY = {
    "projection": 0.26,
    "projection, 1 Langevin": 0.14,
    "projection, 4 Langevin": 0.10,
    "ddnm": 0.27,
    "pigdm, isotropic": 0.13,
    "pigdm, jacobian": 0.075,
    "dps, score": 0.14,
}


@pytest.mark.parametrize("name", ["vp", "subvp", "ve"])
def test_the_seasonal_gaussian_is_reconstructed(name):
    """A mean of 48 series and 12 months, so that an error of 0.1 is known to 0.003."""
    sde, eps = benchmark.SDES[name]
    laboratory, times = benchmark.SeasonalProblem(), grids.uniform(100, eps)
    found = {label: laboratory.run(benchmark.VARIANTS[label], sde, times) for label in LABORATORY}
    for label, bound in LABORATORY.items():
        assert found[label].mean_error < bound, f"{label}: {found}"
    by_rank = ["projection, 4 Langevin", "projection, 1 Langevin", "projection"]
    assert by_rank == sorted(by_rank, key=lambda label: found[label].mean_error)
    # A covariance of 2640 samples is off by 0.05, and the noise of a hundred steps is 5% too wide.
    assert found["pigdm, jacobian"].std == pytest.approx(laboratory.std, rel=0.06)
    assert found["pigdm, jacobian"].cov_error < 0.15 < found["projection"].cov_error


def test_masked_frequencies_are_inverted():
    """Projection with four corrections within 0.12 of the posterior mean, Pi-GDM at the Monte Carlo floor."""
    sde, eps = benchmark.SDES["vp"]
    laboratory = benchmark.SeasonalProblem(measured="fourier")
    labels = ("projection, 4 Langevin", "pigdm, jacobian")
    found = {label: laboratory.run(benchmark.VARIANTS[label], sde, grids.uniform(100, eps)) for label in labels}
    assert found["projection, 4 Langevin"].mean_error < 0.12, found
    assert found["pigdm, jacobian"].mean_error < 1.08 * laboratory.floor < 0.07, found
    assert found["pigdm, jacobian"].std == pytest.approx(laboratory.std, rel=0.06)


@pytest.mark.parametrize("measured", ["months", "fourier"])
def test_intervals_of_the_exact_posterior_are_calibrated(measured):
    """90 +- 2 %; samples of 200 steps are a little wide, which adds 0.9 %. 200 series have 12 directions each."""
    sde, eps = benchmark.SDES["vp"]
    laboratory = benchmark.SeasonalProblem(num_series=200, num_samples=19, measured=measured)
    found = laboratory.run(benchmark.VARIANTS["pigdm, jacobian"], sde, grids.uniform(200, eps))
    assert found.coverage == pytest.approx(0.9, abs=0.02)
