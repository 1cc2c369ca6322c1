"""Operators that are known by their products alone: the posterior that DPS and Pi-GDM find, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from corruption.predictions import from_score, to_score
from sampling.base import Sample
from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.base import inner, is_complex, largest_singular_value, observe
from sampling.inverse.operators.dense import dense
from sampling.inverse.operators.factored import Factored
from sampling.inverse.projection import replacement, row_space_replacement
from sde.vp import VP
from tests.support.operators import line_sums, products
from tests.support.oracles import Gaussian, correlated
from tests.support.tracing import CountingJit

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(2, 4)).astype(np.float32)
MATRICES = {
    "real": REAL,
    "complex": (REAL + 1j * RNG.normal(size=(2, 4))).astype(np.complex64),
    "dependent_sums": line_sums(2, 2),  # four sums; the last follows from the others
}
SHAPE, DATA, SDE, T = (2, 2, 1), correlated(4, shift=0.5), VP(), jnp.array([0.05, 0.3, 0.6])
SETTINGS = {
    "jacobian": ("pigdm", MethodSettings(prior_variance=0.5, covariance="jacobian", num_iterations=12)),
    "isotropic": ("pigdm", MethodSettings(prior_variance=0.5, num_iterations=12)),
    "ddnm": ("ddnm", MethodSettings(prior_variance=0.5, num_iterations=12)),
    "dps": ("dps", MethodSettings(prior_variance=0.5, form="score")),
}


def reals(matrix):
    """The real matrix [M or 2 M, D] of the same measurement: real parts, then imaginary parts."""
    return np.concatenate([matrix.real, matrix.imag]) if np.iscomplexobj(matrix) else matrix


def posterior(matrix, y, noise_std):
    """The Gaussian of x_0 given y = A x_0 + noise, in double precision; A may have dependent rows."""
    A = np.asarray(matrix, np.float64)
    gain = DATA.cov @ A.T @ np.linalg.pinv(A @ DATA.cov @ A.T + noise_std**2 * np.eye(len(A)), rcond=1e-8)
    return Gaussian(DATA.mean + gain @ (np.asarray(y)[0] - A @ DATA.mean), DATA.cov - gain @ A @ DATA.cov)


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
@pytest.mark.parametrize("kind", MATRICES)
def test_products_alone_give_the_posterior_that_singular_values_give(kind, noise_std):
    """Pi-GDM with the Jacobian's covariance has the closed form; the others agree with the spectral operator."""
    matrix = MATRICES[kind]
    operators = products(SHAPE, matrix), dense(SHAPE, reals(matrix))
    data = DATA.sample(0, (1, *SHAPE))
    score_fn = DATA.score_fn(SDE)
    x = SDE.perturb(DATA.sample(1, (3, *SHAPE)), T, DATA.sample(2, (3, *SHAPE)))

    @CountingJit
    def scores(operator, y, x):
        found = {}
        for name, (method, settings) in SETTINGS.items():
            part = METHODS[method](SDE, operator, y, noise_std, settings)
            found[name] = to_score(part.wrap_predict(from_score(score_fn, SDE)), SDE)(x, T)
        return found

    by_products, by_spectrum = (scores(operator, operator.measure(data), x) for operator in operators)
    exact = posterior(reals(matrix), operators[1].measure(data), noise_std).score_fn(SDE)(x, T)
    size = np.abs(exact).max()
    # x0 to 1e-6 of float32, divided by std^2 = 0.03 at the smallest time; the systems have condition numbers below 100.
    np.testing.assert_allclose(by_products["jacobian"], exact, atol=2e-4 * size)
    for name in (
        SETTINGS if kind != "dependent_sums" else ("jacobian", "isotropic", "ddnm")
    ):  # DPS counts four sums, not three
        np.testing.assert_allclose(by_products[name], by_spectrum[name], atol=2e-4 * size, err_msg=name)


@pytest.mark.parametrize("kind", MATRICES)
def test_the_largest_singular_value_is_found_by_products(kind):
    """Twenty iterations: the square of the next one, less than 0.8 of it, to the power of forty."""
    matrix = MATRICES[kind]
    operator = products(SHAPE, matrix)
    expected = np.linalg.svd(reals(matrix), compute_uv=False)[0]
    np.testing.assert_allclose(jax.jit(largest_singular_value)(operator), [expected], rtol=1e-3)


@pytest.mark.parametrize("kind", MATRICES)
def test_noise_is_white_in_the_real_inner_product(kind):
    """Real and imaginary parts alike, each with the same standard deviation; and A^T is adjoint in that product."""
    operator, num = products(SHAPE, MATRICES[kind]), 4000
    assert is_complex(operator) == (kind == "complex")
    x = jnp.broadcast_to(DATA.sample(0, (1, *SHAPE)), (num, *SHAPE))
    y = jax.jit(observe)(operator, jax.random.split(jax.random.key(0), num), x, 0.5)
    noise = np.asarray(y - operator.measure(x))
    reals = np.concatenate([noise.real, noise.imag], axis=1) if is_complex(operator) else noise
    np.testing.assert_allclose(np.cov(reals.T), 0.25 * np.eye(reals.shape[1]), atol=0.25 * 4 * np.sqrt(2 / num))
    np.testing.assert_allclose(inner(operator.measure(x), y), inner(x, operator.adjoint(y)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", MATRICES)
def test_projection_by_products_alone_is_that_in_the_basis_of_the_singular_values(kind):
    """Without noise both replace the part of x in the row space of A, whatever the basis."""
    matrix = MATRICES[kind]
    sample = Sample(*(SDE.perturb(DATA.sample(i, (3, *SHAPE)), T, DATA.sample(i + 1, (3, *SHAPE))) for i in (1, 2)))
    z = DATA.sample(4, (3, *SHAPE))

    @CountingJit
    def replaced(operator, y, t):
        make = replacement if isinstance(operator, Factored) else row_space_replacement
        return make(SDE, operator, y)(z, sample, t)

    for t in (T, jnp.zeros(3)):
        found, expected = (
            replaced(operator, operator.measure(DATA.sample(0, (1, *SHAPE))), t)
            for operator in (products(SHAPE, matrix), dense(SHAPE, reals(matrix)))
        )
        np.testing.assert_allclose(found.x, expected.x, atol=2e-5)  # CG to 1e-5 of numbers near one
        np.testing.assert_allclose(found.mean, expected.mean, atol=2e-5)


def test_projection_of_a_noisy_measurement_moves_by_the_share_that_it_deserves():
    """For one singular value s: x <- x + g (m y / s + std z - x) with g = s^2 / (s^2 + (m noise_std / std)^2)."""
    s, noise_std = 2.0, 0.7
    operator = products(SHAPE, s * np.eye(4, dtype=np.float32))
    y, z, x = (DATA.sample(i, (3, *SHAPE)) for i in range(3))
    found = row_space_replacement(SDE, operator, y.reshape(3, 4), noise_std)(z, Sample(x, x), T)
    m, std = (np.asarray(f(T)).reshape(3, 1, 1, 1) for f in (SDE.mean_coeff, SDE.std))
    gain = s**2 / (s**2 + (m * noise_std / std) ** 2)
    np.testing.assert_allclose(found.x, x + gain * (m * y / s + std * z - x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.mean, x + gain * (m * y / s - x), rtol=1e-4, atol=1e-5)
    last = row_space_replacement(SDE, operator, y.reshape(3, 4), noise_std)(z, Sample(x, x), jnp.zeros(3))
    np.testing.assert_allclose(last.x, x, atol=1e-5)  # without noise of its own, the sample is left alone


@pytest.mark.parametrize("method", ["projection", "ddnm", "pigdm", "dps"])
def test_a_measurement_of_another_shape_is_refused(method):
    with pytest.raises(ValueError, match=r"measurement has shape \(1, 3\), but this operator produces \[B, \*\(2,\)\]"):
        METHODS[method](SDE, products(SHAPE, REAL), jnp.ones((1, 3)), 0.0, MethodSettings())


@pytest.mark.parametrize("method", ["projection", "ddnm", "pigdm"])
def test_conjugate_gradients_need_an_iteration(method):
    with pytest.raises(ValueError, match="num_iterations = 0, but conjugate gradients need at least one"):
        METHODS[method](SDE, products(SHAPE, REAL), jnp.ones((1, 2)), 0.0, MethodSettings(num_iterations=0))
