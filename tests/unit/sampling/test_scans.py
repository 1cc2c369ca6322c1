"""Measurements of scanners, without known singular values: parallel MRI, tomography, photon counts, and patterns."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import skimage.transform

from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.base import inner, is_complex, largest_singular_value
from sampling.inverse.operators.fourier import complex_fourier
from sampling.inverse.operators.mask import mask
from sampling.inverse.operators.patterns import PATTERNS, equispaced_lines, radial, random_lines, random_points
from sampling.inverse.operators.radon import radon
from sampling.inverse.operators.sense import sense
from sampling.inverse.operators.weighted import Weighted, from_counts, photon_counts
from sde.vp import VP
from tests.support.oracles import Gaussian, correlated

RNG = np.random.default_rng(0)


def coils(*shape):
    return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)


LINES = random_lines((8, 6), 0.5, 0.2)
OPERATORS = {
    "sense": lambda: sense((8, 6, 2), coils(8, 6, 3), LINES),
    "sense_of_real_images": lambda: sense((8, 6, 1), coils(8, 6, 3), LINES),
    "sense_of_volumes": lambda: sense((2, 4, 6, 2), coils(2, 4, 6, 2), random_points((2, 4, 6), 0.5, 0.1)),
    "sense_of_series": lambda: sense((8, 2), coils(8, 3), random_lines((8,), 0.5, 0.2)),
    "radon": lambda: radon((8, 8, 1), 5),
    "radon_of_wide_color_images": lambda: radon((6, 8, 3), 4),
    "radon_of_volumes": lambda: radon((2, 8, 7, 1), [0.3, 1.1]),
    "weighted_radon": lambda: Weighted(radon((8, 8, 1), 5), jnp.asarray(RNG.random((1, 5, 8, 1)), jnp.float32)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_measure_and_adjoint_are_adjoint_and_the_norm_is_the_largest_singular_value(name):
    """<A x, y> = <x, A^T y> to 1e-5 of |A x| |y|, and |A| against the explicit matrix."""
    operator, rng = OPERATORS[name](), np.random.default_rng(1)
    num = math.prod(operator.shape)
    x = jnp.asarray(rng.normal(size=(3, *operator.shape)), jnp.float32)
    y = rng.normal(size=(3, *operator.measurement_shape))
    y = y + 1j * rng.normal(size=y.shape) if is_complex(operator) else y
    y = jnp.asarray(y, jnp.complex64 if is_complex(operator) else jnp.float32)

    @jax.jit
    def facts(operator, x, y):
        unit = jnp.eye(num).reshape(num, *operator.shape)
        return operator.measure(x), operator.adjoint(y), operator.measure(unit), largest_singular_value(operator, 60)

    Ax, Aty, matrix, norm = facts(operator, x, y)
    assert Ax.shape == y.shape and Aty.shape == x.shape and Aty.dtype == jnp.float32
    size = np.sqrt(np.asarray(inner(Ax, Ax) * inner(y, y)))
    assert (np.abs(np.asarray(inner(Ax, y) - inner(x, Aty))) < 1e-5 * size).all()
    A = np.asarray(matrix).reshape(num, -1)
    A = np.concatenate([A.real, A.imag], axis=1) if np.iscomplexobj(A) else A
    assert float(norm[0]) == pytest.approx(np.linalg.norm(A.astype(np.float64), 2), rel=0.02)  # slow for close values


def test_coils_see_the_image_times_their_sensitivity():
    operator = OPERATORS["sense"]()
    x = np.random.default_rng(2).normal(size=(2, 8, 6, 2)).astype(np.float32)
    z = (x[..., 0] + 1j * x[..., 1])[..., None] * np.asarray(operator.coil_maps)
    expected = np.where(LINES, scipy.fft.fftn(z, axes=(1, 2), norm="ortho"), 0)
    np.testing.assert_allclose(operator.measure(jnp.asarray(x)), expected, atol=1e-5)


def test_all_frequencies_of_all_coils_combine_to_the_image_where_a_coil_sees_it():
    maps = coils(8, 6, 3)
    maps[0] = 0
    operator = sense((8, 6, 2), maps, np.ones((8, 6, 1)))
    x = np.random.default_rng(2).normal(size=(2, 8, 6, 2)).astype(np.float32)
    found = np.asarray(operator.combine(operator.measure(jnp.asarray(x))))
    np.testing.assert_allclose(found[:, 1:], x[:, 1:], atol=1e-5)
    np.testing.assert_array_equal(found[:, 0], 0)


def test_one_uniform_coil_is_single_coil_mri():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 8, 6, 2)), jnp.float32)
    single = complex_fourier((8, 6, 2), LINES)
    np.testing.assert_allclose(sense((8, 6, 2), np.ones((8, 6, 1)), LINES).measure(x), single.measure(x), atol=1e-6)


def phantom(n):
    """An image [n, n] that is zero near the circle and beyond it, where scikit-image cuts the lines."""
    rows, columns = np.mgrid[:n, :n] - n // 2
    return np.where(np.hypot(rows, columns) < n // 2 - 1.5, np.random.default_rng(3).random((n, n)), 0)


@pytest.mark.parametrize("n", [16, 17])
def test_tomography_is_that_of_scikit_image(n):
    """Projections and filtered back projections, of images and of the slices of volumes."""
    image, degrees = phantom(n), np.arange(6) * 30.0
    operator = radon((n, n, 1), 6)
    y = np.asarray(operator.measure(jnp.asarray(image[None, ..., None], jnp.float32)))
    np.testing.assert_allclose(y[0, ..., 0], skimage.transform.radon(image, degrees).T, atol=1e-4)  # float32
    np.testing.assert_allclose(y[0, 0, :, 0], image.sum(0), atol=1e-5)
    rows, columns = np.mgrid[:n, :n] - n // 2
    inside = np.hypot(rows, columns) < n // 2 - 1  # scikit-image sets the outside to zero
    found = np.asarray(operator.filtered_back_projection(jnp.asarray(y)))[0, ..., 0]
    expected = skimage.transform.iradon(y[0, ..., 0].T.astype(np.float64), degrees)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-4)
    volume = np.stack([image, image.T])[None, ..., None]
    slices = radon((2, n, n, 1), np.radians(degrees)).measure(jnp.asarray(volume, jnp.float32))
    np.testing.assert_allclose(slices[0, 0], y[0], atol=1e-5)
    assert np.abs(np.asarray(slices[0, 1]) - y[0]).max() > 0.1


def test_lines_that_leave_the_circle_are_summed_to_the_border_of_the_image():
    """At 45 degrees the middle line of ones [8, 8] is their diagonal, of length 8 sqrt(2) to within a pixel."""
    y = radon((8, 8, 1), [np.pi / 4]).measure(jnp.ones((1, 8, 8, 1)))
    assert float(y[0, 0, 4, 0]) == pytest.approx(8 * np.sqrt(2), abs=1)


def test_filtered_back_projection_inverts_many_views_of_a_smooth_image():
    n = 32
    rows, columns = (np.mgrid[:n, :n] - n // 2) / n
    image = np.exp(-(rows**2 + 2 * (columns - 0.1) ** 2) / 0.02)[None, ..., None]
    operator = radon((n, n, 1), 60)
    y = operator.measure(jnp.asarray(image, jnp.float32))
    found = np.asarray(operator.filtered_back_projection(y))
    assert np.abs(found - image).max() < 0.04  # linear interpolation widens a peak of five pixels
    np.testing.assert_allclose(np.asarray(y).sum((2, 3)), image.sum(), rtol=1e-3)  # every view has all of it


def test_whitened_counts_have_unit_noise():
    """w (log(photons / n) - A x) has mean 0 and deviation 1, for the 500 to 1,500 counts of a line here."""
    operator, x = radon((4, 4, 1), 3), jnp.full((4000, 4, 4, 1), 0.2)

    @jax.jit
    def noise_of(keys):
        whitened, y = from_counts(operator, photon_counts(keys, operator, x, 1500.0), 1500.0)
        return y - whitened.measure(x)

    noise = np.asarray(noise_of(jax.random.split(jax.random.key(0), len(x))))
    # The estimate of the variance by the count itself shifts the mean by 1 / (2 sqrt(500)) and the variance by 1 / 500.
    np.testing.assert_allclose(noise.mean(0), 0, atol=4 / math.sqrt(4000) + 0.03)
    np.testing.assert_allclose(noise.std(0), 1, atol=4 / math.sqrt(8000) + 0.01)


def test_a_line_without_photons_is_finite():
    _, y = from_counts(radon((4, 4, 1), 1), jnp.zeros((1, 1, 4, 1)), 1000.0)
    assert np.isfinite(np.asarray(y)).all()


def test_weighted_noise_gives_the_posterior_of_its_covariance():
    """Pi-GDM with the Jacobian's covariance and W A has the closed form of y = A x + noise of deviations 1 / w."""
    data, sde, T = correlated(4, shift=0.5), VP(), jnp.array([0.05, 0.3, 0.6])
    weights = np.array([1.0, 3.0, 0.5, 2.0])
    operator = Weighted(mask((4,), np.array([1, 1, 1, 0])), jnp.asarray(weights, jnp.float32)[None])
    y = operator.weights * data.sample(0, (1, 4)) * np.array([[1, 1, 1, 0]])
    A, noise = np.eye(4)[:3], np.diag(1 / weights[:3] ** 2)
    gain = data.cov @ A.T @ np.linalg.inv(A @ data.cov @ A.T + noise)
    values = (np.asarray(y)[0] / weights)[:3]
    exact = Gaussian(data.mean + gain @ (values - A @ data.mean), data.cov - gain @ A @ data.cov)
    settings = MethodSettings(prior_variance=0.5, covariance="jacobian", num_iterations=8)
    guided = METHODS["pigdm"](sde, operator, y, 1.0, settings).wrap_predict(data.predict(sde))
    x = sde.perturb(data.sample(1, (3, 4)), T, data.sample(2, (3, 4)))
    expected = exact.predict(sde)(x, T).x0
    np.testing.assert_allclose(jax.jit(guided)(x, T).x0, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("sides", [(48,), (32, 24), (8, 12, 16)])
@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_keep_their_share_and_the_center(name, sides):
    if name == "radial" and len(sides) == 1:
        pytest.skip("a series has one spoke")
    known = PATTERNS[name](sides, 0.25, 0.08, 0)
    assert known.shape == (*sides, 1) and known.dtype == bool
    share = known.mean()
    assert 0.25 <= share <= 0.35 if name == "radial" else share == pytest.approx(0.25, abs=0.5 / sides[-1])
    assert known[(0,) * (len(sides) + 1)]  # the zero frequency
    if "lines" in name:
        lines = known.reshape(-1, sides[-1])
        assert (lines == lines[0]).all()  # whole lines
        lowest = np.argsort(np.abs(np.fft.fftfreq(sides[-1])), kind="stable")[: round(0.08 * sides[-1])]
        assert lines[0, lowest].all()


def test_random_patterns_depend_on_their_seed_and_the_evenly_spaced_lines_are():
    for name in ("random_lines", "random_points"):
        a, b, again = (PATTERNS[name]((32, 32), 0.25, 0.08, seed) for seed in (0, 1, 0))
        assert (a != b).any() and (a == again).all()
    lines = np.flatnonzero(equispaced_lines((2, 128), 0.25, 0.0, 3)[0, :, 0])
    assert set(np.diff(lines)) == {4}


def test_spokes_are_lines_through_the_center():
    """One spoke of an image is as long as its side; more spokes never lose a frequency of fewer."""
    first = radial((16, 16), 1 / 16, 0.0)[..., 0]
    assert first.sum() == 16 and first[:, 0].all()
    few, many = radial((16, 16), 0.2, 0.0), radial((16, 16), 0.5, 0.0)
    assert (many | ~few).all() and many.sum() > few.sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sense((8, 6, 2), coils(6, 8, 3), LINES), r"maps have shape \(6, 8, 3\), .* need \(8, 6, coils\)"),
        (lambda: sense((8, 6, 3), coils(8, 6, 3), LINES), r"one real or two \(complex\) channels"),
        (lambda: sense((8, 6, 2), coils(8, 6, 3), np.ones((8, 5, 1))), "does not fit"),
        (lambda: sense((8,), coils(8, 3), LINES), r"not \(8,\)"),
        (lambda: radon((8, 2), 5), r"Tomography is of images .*, not of \(8, 2\)"),
        (lambda: radon((8, 8, 1), 0), r"one angle or more"),
        (lambda: radial((8,), 0.5), "A radial pattern needs images or volumes"),
        (lambda: random_lines((8, 8), 1.5, 0.1), "kept = 1.5 and center = 0.1, but both are shares"),
    ],
)
def test_scans_that_do_not_fit_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
