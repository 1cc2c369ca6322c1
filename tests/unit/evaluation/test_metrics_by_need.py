"""Metrics of pairs, ensembles, masks and labels against closed forms and scikit-learn, and what each metric needs."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score

from evaluation.metrics.accuracy import accuracy
from evaluation.metrics.auroc import auroc
from evaluation.metrics.base import NEEDS, OF_SAMPLES, Ensembles, Masks, Pairs
from evaluation.metrics.crps import crps
from evaluation.metrics.intervals import coverage, interval
from evaluation.metrics.ssim import ssim
from evaluation.metrics.table import METRICS, columns, measure

RNG = np.random.default_rng(0)
IMAGES = RNG.random((6, 16, 13, 3))
NOISY = np.clip(IMAGES + RNG.normal(scale=0.1, size=IMAGES.shape), 0, 1)


# Pairs ------------------------------------------------------------------------------------------------------------


def ssim_by_windows(x, y):
    """The definition, window by window, of one channel [H, W] with windows of 11 pixels."""
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(line, line) / line.sum() ** 2
    values = []
    for top, left in itertools.product(range(x.shape[0] - 10), range(x.shape[1] - 10)):
        a, b = (image[top : top + 11, left : left + 11] for image in (x, y))
        m_a, m_b = (weights * a).sum(), (weights * b).sum()
        v_a, v_b = (weights * (a - m_a) ** 2).sum(), (weights * (b - m_b) ** 2).sum()
        c = (weights * (a - m_a) * (b - m_b)).sum()
        values.append((2 * m_a * m_b + 1e-4) * (2 * c + 9e-4) / ((m_a**2 + m_b**2 + 1e-4) * (v_a + v_b + 9e-4)))
    return np.mean(values)


def test_structural_similarity_is_its_definition_window_by_window():
    expected = [
        np.mean([ssim_by_windows(x[..., c], y[..., c]) for c in range(3)]) for x, y in zip(NOISY, IMAGES, strict=True)
    ]
    np.testing.assert_allclose(ssim(NOISY, IMAGES), expected, rtol=1e-10)


def test_structural_similarity_in_closed_form():
    np.testing.assert_allclose(ssim(IMAGES, IMAGES), 1, rtol=1e-12)
    a, b = np.full((1, 12, 12, 1), 0.3), np.full((1, 12, 12, 1), 0.5)  # of constants, only the means count
    np.testing.assert_allclose(ssim(a, b), (2 * 0.15 + 1e-4) / (0.09 + 0.25 + 1e-4), rtol=1e-10)
    np.testing.assert_allclose(ssim(7 * NOISY, 7 * IMAGES, 7.0), ssim(NOISY, IMAGES), rtol=1e-10)  # no units


@pytest.mark.parametrize("shape", [(3, 40, 2), (3, 8, 8, 1), (3, 6, 7, 9, 1)])
def test_structural_similarity_is_that_of_series_small_images_and_volumes(shape):
    x = RNG.random(shape)
    np.testing.assert_allclose(ssim(x, x), 1, rtol=1e-12)
    assert (ssim(np.clip(x + RNG.normal(scale=0.2, size=shape), 0, 1), x) < 0.95).all()
    with pytest.raises(ValueError, match=r"similarity of \(3, 5\) and \(3, 5\) was asked for; give two \[N"):
        ssim(x.reshape(3, -1)[:, :5], x.reshape(3, -1)[:, :5])


def test_pairs_have_a_mean_with_its_standard_error():
    figures = measure(pairs=Pairs(NOISY, IMAGES))
    assert list(figures) == ["psnr", "ssim", "nmse"]
    each = -10 * np.log10(((NOISY - IMAGES) ** 2).mean(axis=(1, 2, 3)))
    assert figures["psnr"].value == pytest.approx(each.mean())
    assert figures["psnr"].error == pytest.approx(each.std(ddof=1) / np.sqrt(6))
    alone = measure(pairs=Pairs(NOISY[:1], IMAGES[:1]))["psnr"]
    assert np.isnan(alone.error) and alone.error_from == "none"  # one example has no standard error
    ranged = measure(pairs=Pairs(IMAGES * 50 + 5, IMAGES * 50, 50.0), names=["psnr"])["psnr"]
    assert ranged.value == pytest.approx(20)


# Ensembles --------------------------------------------------------------------------------------------------------


def test_the_score_of_an_ensemble_is_the_integral_of_its_definition():
    samples, truth = RNG.normal(size=(4, 7, 2)), RNG.normal(size=(4, 2))
    z = np.linspace(-8, 8, 160_001)
    found, unbiased = crps(samples, truth)
    for index in np.ndindex(4, 2):
        x, y = samples[index[0], :, index[1]], truth[index]
        integral = np.trapezoid(((x[:, None] <= z).mean(0) - (y <= z)) ** 2, z)
        assert found[index] == pytest.approx(integral, abs=1e-4)
        pairs = np.abs(x[:, None] - x[None]).sum() / 2
        assert found[index] == pytest.approx(np.abs(x - y).mean() - pairs / 49, rel=1e-12)
        assert unbiased[index] == pytest.approx(np.abs(x - y).mean() - pairs / 42, rel=1e-12)


def test_the_score_of_gaussian_samples_approaches_the_closed_form_and_its_unbiased_form_has_it_on_average():
    """sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = (y - mu) / sigma: Gneiting et al. 2005, equation 5."""
    sigma, y = 2.0, 1.5
    z = y / sigma
    exact = sigma * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    many, _ = crps(sigma * RNG.normal(size=(1, 200_000)), np.array([y]))
    assert many[0] == pytest.approx(exact, abs=0.01)
    biased, unbiased = crps(sigma * RNG.normal(size=(40_000, 3)), np.full(40_000, y))
    error = unbiased.std() / 200
    assert abs(unbiased.mean() - exact) < 4 * error and biased.mean() > exact + 10 * error


def test_the_score_is_least_for_the_true_spread():
    truth = RNG.normal(size=3000)
    scores = {
        scale: measure(ensembles=Ensembles(scale * RNG.normal(size=(3000, 50)), truth))["crps"]
        for scale in (0.5, 1.0, 2.0)
    }
    assert min(scores, key=lambda scale: scores[scale].value) == 1.0
    assert 0 < scores[1.0].error < 0.02 and scores[1.0].details["unbiased"] < scores[1.0].value


def test_an_interval_contains_a_further_sample_as_often_as_it_says():
    """Exactly, for any number of samples: here 56 and 19, of a distribution without symmetry."""
    for num in (19, 56):
        x = RNG.exponential(size=(40_000, num + 1))
        found = coverage(x[:, 1:, None], x[:, :1])
        assert found.mean() == pytest.approx(0.9, abs=4 * 0.3 / 200)
    few = RNG.exponential(size=(40_000, 10))
    assert coverage(few[:, 1:, None], few[:, :1]).mean() == pytest.approx(0.8, abs=4 * 0.4 / 200)  # (9 - 1) / (9 + 1)


def test_the_interval_of_an_ensemble_is_part_of_its_metrics():
    samples = RNG.normal(size=(50, 20, 30))
    figure = measure(ensembles=Ensembles(samples, 0.01 * RNG.normal(size=(50, 30))))["interval_coverage"]
    assert figure.value == 1 and figure.details == {"num_examples": 50, "level": 0.9}
    low, high = interval(samples)
    assert low.shape == high.shape == (50, 30) and (low < high).all()


# Labels and masks -------------------------------------------------------------------------------------------------


def test_accuracy_equals_that_of_scikit_learn():
    logits, labels = RNG.normal(size=(400, 5)), RNG.integers(0, 5, 400)
    logits[np.arange(400), labels] += 1
    figure = measure({"logits": logits}, labels=labels, names=["accuracy"])["accuracy"]
    assert figure.value == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert figure.error == pytest.approx(np.sqrt(figure.value * (1 - figure.value) / 399))
    with pytest.raises(ValueError, match=r"logits \(400, 5\) and classes \(399,\) were given"):
        accuracy(logits, labels[1:])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shape", [(300,), (30, 5, 4)])
def test_the_area_equals_that_of_scikit_learn(shape, ties):
    mask = RNG.random(shape) < 0.3
    scores = mask + RNG.normal(size=shape)
    scores = np.round(scores) if ties else scores
    figure = auroc(scores, mask)
    assert figure.value == pytest.approx(roc_auc_score(mask.ravel(), scores.ravel()), rel=1e-12)
    assert auroc(-scores, mask).value == pytest.approx(1 - figure.value)
    assert figure.error_from == "jackknife over 20 groups of examples"


def test_the_error_of_the_area_is_how_much_it_varies():
    def drawn():
        mask = RNG.random((60, 8)) < 0.4
        own = RNG.normal(size=(60, 1))  # what the pixels of an example share
        return auroc(mask + own + 0.5 * RNG.normal(size=mask.shape), mask)

    figures = [drawn() for _ in range(200)]
    spread = np.std([figure.value for figure in figures])
    assert np.sqrt(np.mean([figure.error**2 for figure in figures])) == pytest.approx(spread, rel=0.2)


def test_a_mask_that_is_the_same_everywhere_is_refused():
    with pytest.raises(ValueError, match="the mask is True everywhere; AUROC needs both"):
        auroc(np.arange(4.0), np.ones(4, bool))
    with pytest.raises(ValueError, match=r"scores \(4,\) and a mask float64 \(4,\) were given; give one shape, bool"):
        auroc(np.arange(4.0), np.ones(4))
    assert np.isnan(auroc(np.arange(4.0), np.arange(4) == 0).error)  # without the first group there is nothing inside


# What is needed ---------------------------------------------------------------------------------------------------

GIVEN = {
    "pairs": Pairs(NOISY, IMAGES),
    "ensembles": Ensembles(RNG.normal(size=(6, 3, 2)), RNG.normal(size=(6, 2))),
    "masks": Masks(NOISY, IMAGES > 0.5),
}


@pytest.mark.parametrize("need", GIVEN)
def test_what_is_given_decides_which_metrics_are_computed(need):
    expected = [name for name, metric in METRICS.items() if metric.needs == (need,)]
    assert list(measure(**{need: GIVEN[need]})) == expected and expected
    with pytest.raises(ValueError, match=f"metric {expected[0]} needs {NEEDS[need][0]}"):
        measure(names=expected[:1])
    first, *rest = GIVEN[need]
    broken = type(GIVEN[need])(np.full(first.shape, np.nan), *rest)
    with pytest.raises(ValueError, match=r"the \w+ of example 0 is not finite"):
        measure(**{need: broken})


def test_every_metric_needs_what_is_known_and_has_a_column():
    for name, metric in METRICS.items():
        assert metric.needs and set(metric.needs) <= set(NEEDS) and metric.fewest >= 1
        (column,) = columns([name])
        assert column.path == f"samples.{name}.value" and column.error == f"samples.{name}.error"
    assert set(OF_SAMPLES) < set(NEEDS)
