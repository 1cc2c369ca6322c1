"""The metrics against torch-fidelity's figures on the same features, and against closed forms."""

import json

import numpy as np
import pytest

from evaluation.metrics import frechet, moments, table
from evaluation.metrics.frechet import fid, fid_infinity, fid_of_groups, frechet_distance
from evaluation.metrics.inception_score import inception_score
from evaluation.metrics.kernel_distance import kid, squared_discrepancy
from evaluation.metrics.neighbors import neighbors
from evaluation.metrics.reference import Statistics, statistics
from evaluation.metrics.sliced_wasserstein import sliced_wasserstein, squared_distances
from reports.records import flatten, warnings
from tests.support import metric_fixtures as recipe

FIGURES = json.loads((recipe.FOLDER / "figures.json").read_text())
with np.load(recipe.FOLDER / "features.npz") as stored:
    SAMPLES, REAL, LOGITS = (stored[name] for name in ("samples", "real", "logits"))
OF_SAMPLES = [name for name in table.METRICS if table.beyond_samples(name) is None]
# Both sides compute in double precision; torch-fidelity averages precision and recall in float32 (6e-8).
EQUAL = {"rel": 1e-6}


def of(features):
    return statistics(moments.of(features))


def gaussian(mu, sigma):
    return Statistics(np.asarray(mu, float), np.asarray(sigma, float), None, {})


def draw(seed, num, num_features=4, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((num, num_features))


def test_fid_equals_torch_fidelity():
    assert fid(of(SAMPLES), of(REAL)).value == pytest.approx(FIGURES["fid"]["frechet_inception_distance"], **EQUAL)


def test_fid_of_fewer_samples_than_features_is_finite_and_equals_torch_fidelity():
    figure = fid(of(SAMPLES[:10]), of(REAL[:12]))
    assert figure.value == pytest.approx(FIGURES["fid_rank_deficient"]["frechet_inception_distance"], **EQUAL)
    assert "16 features of 10 samples and 12 real examples" in figure.warning
    assert figure.remedy.startswith("generate more samples than there are features; use fewer features, or compare")
    assert fid(of(SAMPLES), of(REAL[:12])).remedy.startswith("use fewer features")  # nobody can take more data
    one_direction = np.outer(np.arange(5.0), np.ones(16))
    assert np.isfinite(fid(of(one_direction), of(one_direction + 1)).value)


@pytest.mark.parametrize("num", [20, 64, 300])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_fid_of_a_set_and_itself_is_zero_whatever_its_rank(num, scale):
    """Of 64 features with very different spreads; rounding errors of eigenvalues that are 0 once added up."""
    x = (scale * draw(1, num, 64) * np.exp(2 * draw(2, 1, 64))).astype(np.float32)
    size = float(np.trace(of(x).sigma))
    # Roots of rounding errors of the largest eigenvalue, 64 sqrt(1e-16); without full rank there are none.
    bound = (1e-10 if num < 64 else 1e-6) * size
    assert abs(fid(of(x), of(x)).value) < bound
    assert abs(frechet_distance(*of(x)[:2], *of(x)[:2])) < bound  # without the number of examples


@pytest.mark.parametrize("num_features", [1, 3, 40])
def test_fid_of_gaussians_is_the_closed_form_where_covariances_commute(num_features):
    """sum_i (m1_i - m2_i)^2 + (s1_i - s2_i)^2 in the common eigenvectors."""
    rng = np.random.default_rng(num_features)
    basis, _ = np.linalg.qr(rng.standard_normal((num_features, num_features)))
    (m1, m2), (s1, s2) = rng.standard_normal((2, num_features)), rng.uniform(0, 2, (2, num_features))
    sigma1, sigma2 = (basis * s1**2) @ basis.T, (basis * s2**2) @ basis.T
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    assert frechet_distance(basis @ m1, sigma1, basis @ m2, sigma2) == pytest.approx(expected, rel=1e-10)


def test_fid_of_gaussians_is_the_closed_form_in_two_dimensions():
    """Tr sqrt(M) = sqrt(Tr M + 2 sqrt(det M)) for the 2x2 product M = S1 S2, which has positive eigenvalues."""
    s1, s2 = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[0.5, -0.2], [-0.2, 3.0]])
    root = np.sqrt(np.trace(s1 @ s2) + 2 * np.sqrt(np.linalg.det(s1 @ s2)))
    expected = np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet_distance(np.zeros(2), s1, np.zeros(2), s2) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(np.zeros(2), s2, np.zeros(2), s1) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(np.ones(2), s1, np.ones(2), s1) == pytest.approx(0, abs=1e-12)


def test_fid_of_samples_is_the_closed_form_within_its_error():
    figure = fid_of_groups(moments.in_groups(draw(0, 20_000) + 0.3), gaussian(np.zeros(4), 4 * np.eye(4)))
    assert abs(figure.value - (4 * 0.09 + 4)) < 4 * figure.error  # four standard deviations
    assert 0 < figure.error < 0.1 and figure.num_samples == 20_000 and figure.num_real is None
    assert figure.error_from == "jackknife over 10 groups of samples"


def test_the_jackknife_tells_how_much_fid_varies():
    real = gaussian(np.full(4, 0.5), np.eye(4))
    figures = [fid_of_groups(moments.in_groups(draw(seed, 300)), real) for seed in range(100)]
    spread = np.std([figure.value for figure in figures])
    # The deviation of 100 draws is known to 7 %, the mean of 100 errors from ten groups to 3 %.
    assert np.sqrt(np.mean([figure.error**2 for figure in figures])) == pytest.approx(spread, rel=0.25)


def test_fid_infinity_removes_the_bias_of_few_samples():
    real = gaussian(np.zeros(8), np.eye(8))
    biased, limits, errors = [], [], []
    for seed in range(20):
        x = draw(seed, 1000, 8)
        biased.append(fid(of(x), real).value)
        limit = fid_infinity(x, real, smallest=100, seed=seed)
        limits.append(limit.value)
        errors.append(limit.error)
        assert limit.details["slope"] > 0 and limit.num_samples == 1000
    # The true distance is zero. The bias is of order D^2 / 4N = 0.016.
    assert np.mean(biased) > 0.01 and abs(np.mean(limits)) < 0.1 * np.mean(biased)
    assert 0 < np.mean(errors) < np.mean(biased)


def test_fid_infinity_is_the_intercept_of_an_exact_line():
    x, y = 1 / np.array([10.0, 20, 40, 80]), np.array([1.1, 1.05, 1.025, 1.0125])
    assert frechet.line_fit(x, y) == pytest.approx((1.0, 1.0, 0.0), abs=1e-9)
    noise = np.array([1.0, -2.0, 1.5, -0.5])
    design = np.stack([np.ones(4), x], 1)
    residual = noise - design @ np.linalg.solve(design.T @ design, design.T @ noise)
    covariance = np.linalg.inv(design.T @ design) * (residual @ residual) / 2
    assert frechet.line_fit(x, y + noise)[2] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-9)


def test_kid_equals_torch_fidelity():
    figure, target = kid(SAMPLES, REAL), FIGURES["kid"]
    assert figure.value == pytest.approx(target["kernel_inception_distance_mean"], **EQUAL)
    assert figure.error == pytest.approx(target["kernel_inception_distance_std"], **EQUAL)
    figure, target = kid(SAMPLES, REAL, num_subsets=7, subset_size=50, seed=3), FIGURES["kid_small"]
    assert figure.value == pytest.approx(target["kernel_inception_distance_mean"], **EQUAL)
    assert figure.error == pytest.approx(target["kernel_inception_distance_std"], **EQUAL)
    assert figure.details["standard_error"] == pytest.approx(figure.error / np.sqrt(7))
    assert figure.details["standard_deviation"] == figure.error  # as published, and as it is labelled where it is shown


def test_the_kernel_distance_is_its_double_sum():
    x, y = draw(0, 6, 3), draw(1, 4, 3) + 1

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    within = [np.mean([kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]) for z in (x, y)]
    expected = sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y])
    assert squared_discrepancy(x, y) == pytest.approx(expected, rel=1e-12)


def test_kid_has_no_bias():
    values = [squared_discrepancy(draw(seed, 20), draw(seed + 1000, 20)) for seed in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20  # four standard errors


def test_kid_of_few_examples_takes_smaller_subsets_and_says_so():
    figure = kid(SAMPLES[:300], REAL, num_subsets=5)
    assert "subsets of 150, half of the smaller of 300 samples and" in figure.warning and figure.error > 0
    with pytest.raises(ValueError, match="5 subsets of 1 was requested"):
        kid(SAMPLES[:3], REAL, num_subsets=5)


def test_the_sliced_wasserstein_distance_of_a_shift_and_of_a_scale_is_its_closed_form():
    x = draw(0, 300, 3)
    shift = np.array([0.3, -0.4, 1.2])
    figure = sliced_wasserstein(x, x + shift)
    # |w . c|^2 averages |c|^2 / D; 500 directions.
    assert figure.value == pytest.approx(1.3 / np.sqrt(3), abs=4 * figure.error) and figure.error < 0.02
    assert sliced_wasserstein(x, x).value == 0
    # Along one line |F^-1 - 2 F^-1|^2 averages the mean square; sets of other sizes by repetition.
    line = x[:, :1]
    assert sliced_wasserstein(line, np.repeat(2 * line, 2, axis=0)).value == pytest.approx(np.sqrt(np.mean(line**2)))
    pairs = squared_distances(np.array([[0.0], [1.0]]), np.array([[0.0], [0.0], [1.0]]))
    assert pairs == pytest.approx([1 / 6])  # a sixth of the mass goes from 1 to 0
    with pytest.raises(ValueError, match="cannot be compared"):
        sliced_wasserstein(x, x[:, :2])


def test_inception_score_equals_torch_fidelity():
    for figure, name in (
        (inception_score(LOGITS), "inception_score"),
        (inception_score(LOGITS, num_splits=3, seed=1), "inception_score_three"),
    ):
        assert figure.value == pytest.approx(FIGURES[name]["inception_score_mean"], **EQUAL)
        assert figure.error == pytest.approx(FIGURES[name]["inception_score_std"], **EQUAL)


def test_inception_score_is_one_for_a_guess_and_the_number_of_classes_for_certainty():
    assert inception_score(np.ones((50, 7))).value == pytest.approx(1, rel=1e-12)
    certain = 1e4 * np.eye(7)[np.arange(70) % 7]  # probabilities of others are zero in double precision
    assert inception_score(certain, num_splits=1).value == pytest.approx(7, rel=1e-12)
    assert inception_score(certain[:60]).to_dict()["warning"].endswith("it is too small; generate at least 70 samples")


def test_precision_and_recall_equal_torch_fidelity():
    for k, name in ((3, "neighbours"), (5, "neighbours_five")):
        figures = neighbors(SAMPLES, REAL, k=k)
        for figure in ("precision", "recall"):
            assert figures[figure].value == pytest.approx(FIGURES[name][figure], **EQUAL)


def test_density_and_coverage_are_their_definitions():
    x, y = draw(0, 30, 2), draw(1, 40, 2) + 0.5
    distances = np.linalg.norm(y[:, None] - x[None, :], axis=-1)
    radii = np.sort(np.linalg.norm(y[:, None] - y[None, :], axis=-1), axis=1)[:, 5]
    inside = distances <= radii[:, None]
    figures = neighbors(x, y)
    assert figures["density"].value == pytest.approx(inside.sum() / (5 * 30), rel=1e-12)
    assert figures["coverage"].value == pytest.approx(inside.any(1).mean(), rel=1e-12)
    spread = (inside.sum(0) / 5).std(ddof=1) / np.sqrt(30)
    assert figures["density"].error == pytest.approx(spread, rel=1e-12)
    assert "few for nearest neighbors" in figures["density"].warning


def test_small_numbers_are_reported_once_with_a_remedy_only_where_there_is_one():
    samples, real = {"features": SAMPLES[:200]}, {"features": REAL[:30]}
    names = ("fid", "kid", "precision", "recall", "density", "coverage")
    measured = {
        kind: {name: figure.to_dict() for name, figure in figures.items()}
        for kind, figures in (
            ("samples", table.measure(samples, real, names=names)),
            ("data_against_data", table.baseline(real, names=names)),
        )
    }
    few, subsets, halves = sorted(warnings(measured, table.columns(names)))
    assert few.startswith("200 samples and 30 real examples are few for nearest neighbors: precision, recall, density")
    assert few.endswith("; compare only with results of equally many") and "1000" not in few
    assert subsets.startswith("KID is the mean over subsets of 15,") and "1000" not in subsets
    # 15 examples in each half, 16 features: the FID of the samples, of 30, has no warning.
    assert halves.startswith("real vs. real, one half of the data against the other: FID compares 16 features of 15 ")
    assert halves.endswith("the distance is too large")  # halves cannot be larger
    many = neighbors(SAMPLES[:200], draw(0, 1000, SAMPLES.shape[1]))
    assert many["recall"].remedy == "generate at least 1000 samples"


def test_a_set_is_all_of_itself_and_nothing_of_a_far_one():
    x = draw(0, 50)
    for name, figure in neighbors(x, x).items():
        assert figure.value == pytest.approx(6 / 5 if name == "density" else 1)  # each ball holds its centre too
    assert all(figure.value == 0 for figure in neighbors(x + 1e3, x).values())


def test_copies_lie_on_the_border_of_the_balls_that_reach_to_them():
    """With k = 1 every ball's border goes through another real example, and a copy of it is inside, rounding or not."""
    real = draw(0, 200, 3) / 255 + 100.0
    figures = neighbors(real[:100], real, k=1, k_density=1)
    distances = np.linalg.norm(real[:, None] - real[None, :], axis=-1)
    np.fill_diagonal(distances, np.inf)
    held = np.arange(200)[:, None] == np.arange(100)[None, :]  # a ball holds a copy of its centre, and ...
    held[np.arange(200), np.minimum(distances.argmin(1), 99)] |= distances.argmin(1) < 100  # ... of the nearest
    assert figures["density"].value == pytest.approx(held.sum() / 100, rel=1e-12)


def test_figures_do_not_depend_on_the_size_of_chunks():
    whole, piecewise = neighbors(SAMPLES, REAL), neighbors(SAMPLES, REAL, chunk_bytes=8 * 1200 * 7)
    assert {name: f.value for name, f in whole.items()} == {name: f.value for name, f in piecewise.items()}


def test_all_metrics_of_a_feature_file_are_the_same_to_the_last_bit():
    def figures():
        samples = {"features": SAMPLES[:200], "logits": LOGITS[:200]}
        return {name: figure.to_dict() for name, figure in table.measure(samples, {"features": REAL[:300]}).items()}

    first = figures()
    assert list(first) == OF_SAMPLES
    assert json.dumps(first) == json.dumps(figures())
    assert first["kid"]["num_samples"] == 200 and "warning" in first["kid"] and "warning" not in first["fid"]


def test_each_metric_has_a_column_with_its_value_error_bar_and_baseline():
    samples, real = {"features": SAMPLES[:40], "logits": LOGITS[:40]}, {"features": REAL[:60], "logits": LOGITS[:60]}
    measured, between = table.measure(samples, real), table.baseline(real)
    result = {
        "samples": {name: estimate.to_dict() for name, estimate in measured.items()},
        "data_against_data": {name: estimate.to_dict() for name, estimate in between.items()},
    }
    columns = table.columns(reversed(OF_SAMPLES))
    assert [column.heading for column in columns] == [
        "FID",
        "FID∞",
        "KID",
        "sliced Wasserstein",
        "IS",
        "precision",
        "recall",
        "density",
        "coverage",
    ]
    numbers = dict(flatten(result))
    for name, column in zip(OF_SAMPLES, columns, strict=True):
        assert numbers[column.path] == measured[name].value and numbers[column.error] == measured[name].error
        assert numbers[column.baseline] == between[name].value and numbers[column.baseline_error] == between[name].error
    best = max(columns, key=lambda column: column.rank)
    assert (best.heading, best.better) == ("FID", "lower")


def test_only_what_the_inputs_allow_is_measured():
    samples = {"features": SAMPLES}
    assert list(table.measure(samples, reference=of(REAL))) == ["fid", "fid_infinity"]
    assert list(table.measure({"logits": LOGITS})) == ["inception_score"]
    assert list(table.measure(samples, {"features": REAL}, names=["recall", "fid"])) == ["fid", "recall"]
    with pytest.raises(ValueError, match="metric inception_score needs logits of the samples"):
        table.measure(samples, names=["inception_score"])
    with pytest.raises(ValueError, match="metric kid needs features of real examples; statistics alone are not enough"):
        table.measure(samples, reference=of(REAL), names=["kid"])
    with pytest.raises(ValueError, match="metric fid needs statistics or features"):
        table.measure(samples, names=["fid"])
    with pytest.raises(ValueError, match="unknown metric 'fiid'; choose from fid,"):
        table.measure(samples, names=["fiid"])


def test_the_floor_is_what_real_examples_reach_against_real_ones():
    figures = table.baseline({"features": REAL}, names=["fid", "kid", "precision", "coverage"])
    assert figures["fid"].num_samples == figures["fid"].num_real == 550
    assert 0 < figures["fid"].value < FIGURES["fid"]["frechet_inception_distance"]
    assert abs(figures["kid"].value) < 4 * figures["kid"].error  # zero is expected
    assert figures["precision"].value > 0.7
    first, second = table.split_halves(1101, seed=3)
    assert len(first) == len(second) == 550 and not set(first) & set(second)
    with pytest.raises(ValueError, match="3 real examples cannot be split"):
        table.baseline({"features": REAL[:3]})


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: fid(of(SAMPLES), of(REAL[:, :3])), "of different features"),
        (lambda: kid(SAMPLES, REAL[:, :3]), "cannot be compared"),
        (lambda: neighbors(SAMPLES, REAL[:, :3]), "cannot be compared"),
        (lambda: neighbors(SAMPLES[:5], REAL), "more examples than neighbors"),
        (lambda: table.measure({"features": SAMPLES * np.inf}), "features of the samples are not finite from row 0"),
        (lambda: table.measure({"features": SAMPLES}, {"features": REAL[0]}), r"shape \(16,\); give \[N, D\]"),
        (lambda: inception_score(LOGITS[:3]), "one sample in each split"),
        (lambda: fid_infinity(SAMPLES, of(REAL), num_points=2), "it takes 3 subsets"),
        (lambda: fid_infinity(SAMPLES, of(REAL), smallest=1200), "it takes 3 subsets"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()
