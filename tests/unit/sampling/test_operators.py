"""Linear measurements: one contract for all, and each operator against its definition."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from sampling.inverse.operators.base import observe
from sampling.inverse.operators.blur import blur, gaussian_blur
from sampling.inverse.operators.dense import dense
from sampling.inverse.operators.downsample import cosine_basis, downsample
from sampling.inverse.operators.factored import factored
from sampling.inverse.operators.fourier import complex_fourier, fourier
from sampling.inverse.operators.grayscale import COLOR_BASIS, grayscale
from sampling.inverse.operators.mask import mask
from sampling.inverse.operators.radon import radon
from sampling.inverse.operators.sense import sense, simulated_coils
from sampling.inverse.operators.sense_lines import by_rows
from tests.support.tracing import CountingJit

SHAPE = (6, 4, 3)
VECTOR, SERIES, VOLUME = (7,), (8, 2), (2, 4, 2, 2)
RNG = np.random.default_rng(0)
PIXELS = RNG.random((6, 4, 1)) < 0.6
KERNEL = RNG.random((3, 2))  # without symmetry, so that its Fourier transform has phases
LINES = np.array([1, 0, 1, 0])[None, :, None]
MATRIX = RNG.normal(size=(5, math.prod(SHAPE))).astype(np.float32)
OPERATORS = {
    "mask": lambda: mask(SHAPE, PIXELS),
    "mask_of_each_entry": lambda: mask(SHAPE, RNG.random(SHAPE) < 0.5),
    "downsample": lambda: downsample(SHAPE, 2),
    "grayscale": lambda: grayscale(SHAPE),
    "blur": lambda: blur(SHAPE, KERNEL),
    "gaussian_blur": lambda: gaussian_blur(SHAPE, 1.0, rtol=0.05),
    "fourier": lambda: fourier(SHAPE, PIXELS),
    "dense": lambda: dense(SHAPE, MATRIX),
    "dense_of_low_rank": lambda: dense(SHAPE, np.concatenate([MATRIX, MATRIX[:1] - MATRIX[1:2]])),
    "factored_sums": lambda: factored(radon((6, 4, 1), 3)),  # 18 sums of rank 16
    "factored_coils": lambda: factored(sense((4, 4, 2), simulated_coils((4, 4), 3), LINES)),  # 96 real numbers
    "coils_by_rows": lambda: by_rows(sense((4, 4, 2), simulated_coils((4, 4), 3), LINES)),
    "coils_by_rows_of_real_volumes": lambda: by_rows(sense((2, 2, 4, 1), simulated_coils((2, 2, 4), 1), LINES[None])),
    "mask_of_vectors": lambda: mask(VECTOR, RNG.random(VECTOR) < 0.5),
    "mask_of_series": lambda: mask(SERIES, RNG.random((8, 1)) < 0.5),
    "mask_of_volumes": lambda: mask(VOLUME, RNG.random((2, 4, 2, 1)) < 0.5),
    "downsample_series": lambda: downsample(SERIES, 4),
    "downsample_volumes": lambda: downsample(VOLUME, 2),
    "grayscale_of_series": lambda: grayscale(SERIES),
    "grayscale_of_volumes": lambda: grayscale(VOLUME),
    "blur_of_series": lambda: blur(SERIES, KERNEL[:, 0]),
    "gaussian_blur_of_volumes": lambda: gaussian_blur(VOLUME, 0.6, rtol=0.05),
    "fourier_of_series": lambda: fourier(SERIES, RNG.random((8, 1)) < 0.5),
    "complex_fourier": lambda: complex_fourier((6, 4, 2), PIXELS),
    "complex_fourier_of_two_channels": lambda: complex_fourier((6, 4, 4), RNG.random((6, 4, 2)) < 0.5),
    "complex_fourier_of_series": lambda: complex_fourier(SERIES, RNG.random((8, 1)) < 0.5),
    "complex_fourier_of_volumes": lambda: complex_fourier(VOLUME, RNG.random((2, 4, 2, 1)) < 0.5),
    "fourier_of_volumes": lambda: fourier(VOLUME, RNG.random((2, 4, 2, 1)) < 0.5),
}
ATOL = 2e-5  # float32: a few sums of up to 72 products of numbers near one


def rows(y):
    """Real numbers [N, M] of measurements [N, ...]: real and imaginary parts count separately."""
    y = np.asarray(y).reshape(len(y), -1)
    return np.concatenate([y.real, y.imag], axis=1) if np.iscomplexobj(y) else y


@jax.jit
def facts(operator, x, y):
    """Everything that the contract checks, in one compilation."""
    num = math.prod(operator.shape)
    unit = jnp.eye(num).reshape(num, *operator.shape)
    basis = operator.to_basis(unit)
    return {
        "A": operator.measure(unit),
        "basis": basis,
        "back": operator.from_basis(basis),
        "s": jnp.broadcast_to(operator.singular_values, basis.shape),
        "U": operator.from_spectrum(operator.to_basis(unit)),
        "coordinates": operator.coordinates(operator.from_spectrum(basis)),
        "Ax": operator.measure(x),
        "Aty": operator.adjoint(y),
        "A+Ax": operator.pseudo_inverse(operator.measure(x)),
        "AA+Ax": operator.measure(operator.pseudo_inverse(operator.measure(x))),
        "inverted": operator.invert(y, 0.7, 0.3),
        "AAt": operator.measure(operator.adjoint(operator.invert(y, 0.7, 0.3))),
        "observed": operator.observe(x, x, 0.5),
        "noise": operator.from_spectrum(operator.to_basis(x)),
    }


@pytest.fixture(scope="module", params=OPERATORS)
def case(request):
    """An operator, data, a measurement in its range, and the facts."""
    operator = OPERATORS[request.param]()
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, *operator.shape)), jnp.float32)
    y = operator.from_spectrum(operator.to_basis(x[::-1]))
    return operator, x, y, facts(operator, x, y)


def test_the_basis_is_orthonormal(case):
    found = case[-1]
    basis = rows(found["basis"])
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=ATOL)
    np.testing.assert_allclose(rows(found["back"]), np.eye(len(basis)), atol=ATOL)


def test_measure_and_adjoint_are_adjoint(case):
    _, x, y, found = case
    left, right = np.sum(rows(found["Ax"]) * rows(y), axis=1), np.sum(rows(x) * rows(found["Aty"]), axis=1)
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=ATOL)


def test_the_singular_values_are_those_of_the_dense_matrix(case):
    operator, _, _, found = case
    A = rows(found["A"]).T
    expected = np.linalg.svd(A.astype(np.float64), compute_uv=False)
    s = np.sort(rows(found["s"])[0])[::-1]
    num = min(len(s), len(expected))
    np.testing.assert_allclose(s[:num], expected[:num], atol=ATOL)
    assert not s[num:].any()
    assert A.shape[1] == math.prod(operator.shape) and found["A"].shape[1:] == operator.measurement_shape


def test_the_pseudo_inverse_is_that_of_the_dense_matrix(case):
    """A A+ A = A, and A+ A is the projection on what is measured."""
    _, x, _, found = case
    np.testing.assert_allclose(rows(found["AA+Ax"]), rows(found["Ax"]), atol=ATOL)
    A = rows(found["A"]).T.astype(np.float64)
    expected = rows(x) @ (np.linalg.pinv(A, rcond=1e-4) @ A).T
    np.testing.assert_allclose(rows(found["A+Ax"]), expected, atol=10 * ATOL)  # singular values down to 0.05 of one


def test_the_inverse_of_a_weighted_sum_of_noises_is_one(case):
    """(0.7 A A^T + 0.3 I) (0.7 A A^T + 0.3 I)^-1 y = y for y in the range of A."""
    _, _, y, found = case
    np.testing.assert_allclose(0.7 * rows(found["AAt"]) + 0.3 * rows(found["inverted"]), rows(y), atol=ATOL)


def test_white_noise_of_the_measurement_is_white_noise_of_its_coordinates(case):
    """U is orthonormal on what is measured: U U^T is the projection on the range, and U^T U the identity there."""
    operator, _, _, found = case
    measured = np.broadcast_to(operator.measured, found["basis"].shape)
    np.testing.assert_allclose(found["coordinates"], np.where(measured, found["basis"], 0), atol=ATOL)
    U = rows(found["U"]).T
    rank = int(measured[0].sum())
    assert np.trace(U @ U.T) == pytest.approx(rank, abs=1e-3)  # the sum of 72 squares of float32
    np.testing.assert_allclose(rows(found["observed"]), rows(found["Ax"]) + 0.5 * rows(found["noise"]), atol=ATOL)


def test_measurements_match_their_definitions():
    x = np.random.default_rng(2).normal(size=(2, *SHAPE)).astype(np.float32)
    expected = {
        "mask": x * PIXELS,
        "grayscale": x.mean(axis=-1, keepdims=True),
        "downsample": x.reshape(2, 3, 2, 2, 2, 3).mean(axis=(2, 4)),
        "blur": sum(KERNEL[i, j] * np.roll(x, (i - 1, j - 1), axis=(1, 2)) for i in range(3) for j in range(2)),
        "dense": x.reshape(2, -1) @ MATRIX.T,
    }
    for name, y in expected.items():
        np.testing.assert_allclose(OPERATORS[name]().measure(jnp.asarray(x)), y, atol=ATOL, err_msg=name)


def test_series_and_volumes_are_measured_along_all_their_sides():
    rng = np.random.default_rng(2)
    series, volumes = (rng.normal(size=(2, *shape)).astype(np.float32) for shape in (SERIES, VOLUME))
    every = np.ones((1, 1, 1, 1))
    kernel = rng.random((2, 3, 1))
    shifts = [(i, j) for i in range(2) for j in range(3)]
    cases = {
        "blocks of series": (downsample(SERIES, 4), series, series.reshape(2, 2, 4, 2).mean(2)),
        "blocks of volumes": (downsample(VOLUME, 2), volumes, volumes.reshape(2, 1, 2, 2, 2, 1, 2, 2).mean((2, 4, 6))),
        "channels of volumes": (grayscale(VOLUME), volumes, volumes.mean(-1, keepdims=True)),
        "one blurred side": (
            blur(SERIES, KERNEL[:, 0]),
            series,
            sum(KERNEL[i, 0] * np.roll(series, i - 1, axis=1) for i in range(3)),
        ),
        "three blurred sides": (
            blur(VOLUME, kernel),
            volumes,
            sum(kernel[i, j, 0] * np.roll(volumes, (i - 1, j - 1), axis=(1, 2)) for i, j in shifts),
        ),
        "frequencies of series": (fourier(SERIES, every[0, 0]), series, np.fft.fft(series, axis=1, norm="ortho")),
        "frequencies of volumes": (
            fourier(VOLUME, every),
            volumes,
            np.fft.fftn(volumes, axes=(1, 2, 3), norm="ortho"),
        ),
    }
    for name, (operator, x, y) in cases.items():
        np.testing.assert_allclose(operator.measure(jnp.asarray(x)), y, atol=ATOL, err_msg=name)


def test_a_gaussian_blur_keeps_the_mean_and_widens_by_its_width():
    """For a point far from the edges: weights that sum to one, with the variance of the Gaussian in both directions."""
    point = jnp.zeros((1, 32, 32, 1)).at[0, 16, 16].set(1.0)
    y = np.asarray(gaussian_blur((32, 32, 1), 1.5, rtol=0.0).measure(point), np.float64)[0, :, :, 0]
    assert y.sum() == pytest.approx(1.0, abs=1e-5)
    squares = (np.arange(32) - 16.0) ** 2
    # Cut at four widths: 1e-3 of the variance is beyond; float32 errors of 1e-8 are weighted by squares up to 256.
    assert (y.sum(axis=1) * squares).sum() == pytest.approx(1.5**2, rel=3e-3)
    assert (y.sum(axis=0) * squares).sum() == pytest.approx(1.5**2, rel=3e-3)


def test_fourier_coefficients_of_opposite_frequencies_are_known_together():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, *SHAPE)), jnp.float32)
    known = np.zeros((6, 4, 1), bool)
    known[1, 3] = known[0, 0] = known[3, 2] = True  # one frequency of a pair, and two frequencies that are real
    operator = fourier(SHAPE, known)
    both = known.copy()
    both[5, 1] = True
    y = np.asarray(operator.measure(x))
    np.testing.assert_allclose(y, np.where(both, np.fft.fft2(x, axes=(1, 2), norm="ortho"), 0), atol=ATOL)
    assert np.sum(np.asarray(operator.singular_values)) == 4  # one number each for the two, two for the pair
    np.testing.assert_allclose(np.abs(y[:, 1, 3] - np.conj(y[:, 5, 1])), 0, atol=ATOL)


def test_complex_fourier_coefficients_are_those_of_complex_examples():
    """Channels 2 k and 2 k + 1 are the parts of complex channel k; opposite frequencies are known apart."""
    x = np.random.default_rng(3).normal(size=(2, 6, 4, 4)).astype(np.float32)
    known = np.zeros((6, 4, 1), bool)
    known[1, 3] = known[0, 0] = True
    operator = complex_fourier((6, 4, 4), known)
    z = x[..., [0, 2]] + 1j * x[..., [1, 3]]
    expected = np.where(known, scipy.fft.fftn(z, axes=(1, 2), norm="ortho"), 0)
    np.testing.assert_allclose(operator.measure(jnp.asarray(x)), expected, atol=ATOL)
    assert operator.measurement_shape == (6, 4, 2)


def test_complex_noise_has_the_same_deviation_in_both_parts():
    operator = complex_fourier((4, 4, 2), np.ones((4, 4, 1)))
    x = jnp.zeros((4000, 4, 4, 2))
    y = np.asarray(observe(operator, jax.random.split(jax.random.key(0), len(x)), x, 0.5))[..., 0]
    # Four standard errors of a variance of 4000 samples: 4 sqrt(2 / 4000) = 0.09 of it.
    np.testing.assert_allclose(y.real.var(axis=0), 0.25, rtol=0.09)
    np.testing.assert_allclose(y.imag.var(axis=0), 0.25, rtol=0.09)


def test_fourier_noise_is_that_of_a_noisy_image():
    z = jnp.asarray(np.random.default_rng(4).normal(size=(4000, 4, 4, 1)), jnp.float32)
    y = np.asarray(fourier((4, 4, 1), np.ones((4, 4, 1))).observe(z, jnp.zeros_like(z), 0.5))[..., 0]
    # Four standard errors of a variance of 4000 samples: 4 sqrt(2 / 4000) = 0.09 of it.
    np.testing.assert_allclose(np.mean(np.abs(y) ** 2, axis=0), 0.25, rtol=0.09)
    np.testing.assert_allclose(y[:, 1, 2].real.var(), 0.125, rtol=0.09)
    np.testing.assert_allclose(y[:, 2, 2].imag, 0.0, atol=ATOL)


def test_every_image_can_have_its_own_mask_and_a_new_mask_does_not_recompile():
    masks = np.random.default_rng(5).random((2, 2, 6, 4, 1)) < 0.5
    x = jnp.ones((2, *SHAPE))
    measure = CountingJit(lambda operator, x: operator.measure(x))
    for known in masks:
        np.testing.assert_array_equal(measure(mask(SHAPE, known), x), np.broadcast_to(known, x.shape))
    assert measure.num_traces == 1


def test_bases_are_those_of_their_papers(golden):
    golden("controllable").check("color_M", COLOR_BASIS.astype(np.float32))
    np.testing.assert_allclose(cosine_basis(2), np.array([[1, 1], [1, -1]]) / np.sqrt(2), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mask(SHAPE, np.ones((5, 4, 1))), r"mask has shape \(1, 5, 4, 1\).*\(6, 4, 3\)"),
        (lambda: mask(SHAPE, np.ones((6, 4))), "does not fit"),
        (lambda: downsample(SHAPE, 4), "factor = 4 does not divide"),
        (lambda: downsample((6,), 2), r"\(D, H, W, C\), not \(6,\)"),
        (lambda: grayscale((6, 4, 1)), r"restores two or more channels.*\(6, 4, 1\)"),
        (lambda: grayscale(VECTOR), r"not \(7,\)"),
        (lambda: fourier(VECTOR, np.ones(7)), r"not \(7,\)"),
        (lambda: complex_fourier(SHAPE, np.ones((6, 4, 1))), r"two channels, .* but the shape is \(6, 4, 3\)"),
        (lambda: complex_fourier((6, 4, 2), np.ones((6, 5, 1))), "does not fit"),
        (lambda: blur(VOLUME, KERNEL), r"kernel has shape \(3, 2\), .* as many axes as \(2, 4, 2\)"),
        (lambda: blur(SHAPE, np.ones((7, 1))), r"kernel has shape \(7, 1\)"),
        (lambda: gaussian_blur(SHAPE, 0.0), "width = 0.0"),
        (lambda: fourier(SHAPE, np.ones((6, 5, 1))), "does not fit"),
        (lambda: dense(SHAPE, np.ones((2, 71))), r"needs \[M, 72\]"),
        (lambda: downsample(SHAPE, 2).adjoint(jnp.ones((1, *SHAPE))), r"produces \[B, \*\(3, 2, 3\)\]"),
        (lambda: grayscale(SHAPE).measure(jnp.ones((1, 4, 6, 3))), r"measures \[B, \*\(6, 4, 3\)\]"),
    ],
)
def test_mismatched_shapes_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
