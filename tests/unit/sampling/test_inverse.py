"""Inverse problems with a Gaussian prior, whose posterior is known: scores, samples, and the seasonal benchmark."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import inverse as benchmark
from corruption.predictions import score_of
from sampling import grids
from sampling.coefficients import METHODS as SOLVERS
from sampling.inverse.base import Conditioned, unchanged
from sampling.inverse.conjugate_gradients import conjugate_gradients
from sampling.inverse.ddnm import ddnm
from sampling.inverse.dps import dps
from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.blur import gaussian_blur
from sampling.inverse.operators.dense import dense
from sampling.inverse.operators.downsample import downsample
from sampling.inverse.operators.mask import mask
from sampling.inverse.pigdm import pigdm
from sampling.multistep import multistep
from sampling.ode import ProbabilityFlow
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.none import none
from sde.chain import ddpm_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.operators import products
from tests.support.oracles import Gaussian, correlated
from tests.support.tracing import CountingJit

SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "edm": EDM(), "cosine": Cosine(), "linear": Linear()}
each = pytest.mark.parametrize("name", SDES)
DATA = correlated(4, shift=0.5)
MATRIX = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
SETTINGS = MethodSettings(prior_variance=0.5, covariance="jacobian", num_iterations=8, form="score")
KEY = jax.random.key(2)
T = jnp.array([0.05, 0.3, 0.6])


def posterior(prior, A, y, noise_std):
    """N(mean, cov) of x_0 given y = A x_0 + noise, in double precision."""
    A = np.asarray(A, np.float64)
    gain = prior.cov @ A.T @ np.linalg.inv(A @ prior.cov @ A.T + noise_std**2 * np.eye(len(A)))
    return Gaussian(prior.mean + gain @ (np.asarray(y) - A @ prior.mean), prior.cov - gain @ A @ prior.cov)


def assert_close(found, expected, tol):
    """To `tol` of the largest entry of each example."""
    size = np.abs(np.asarray(expected)).reshape(len(expected), -1).max(axis=1)
    error = np.abs(np.asarray(found - expected)).reshape(len(expected), -1).max(axis=1)
    np.testing.assert_array_less(error, tol * size)


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
@each
def test_for_white_data_the_cheap_methods_are_exact(name, noise_std):
    """For data N(0, v I) the posterior of x_0 given x_t is N(x0, r^2 I): DDNM and Pi-GDM are its score, for images."""
    sde, variance, shape = SDES[name], 0.5, (4, 4, 1)
    white, operator = Gaussian(np.zeros(16), variance * np.eye(16)), gaussian_blur(shape, 0.7, rtol=0.02)
    A = np.asarray(operator.measure(jnp.eye(16).reshape(16, *shape))).reshape(16, 16).T
    y = np.asarray(operator.measure(white.sample(0, (1, *shape))))
    # A is singular, so very little noise replaces none: (3e-6 / 0.02)^2 is 1e-4 of the smallest variance, 2e-4.
    exact = posterior(white, A, y.reshape(-1), max(noise_std, 3e-6)).score_fn(sde)
    x = sde.perturb(white.sample(1, (3, *shape)), T, white.sample(2, (3, *shape)))

    @jax.jit
    def scores(x):
        make = [ddnm, pigdm]
        parts = [m(sde, operator, jnp.asarray(y), noise_std, prior_variance=variance) for m in make]
        return [score_of(part.wrap_predict(white.predict(sde))(x, T), sde, T) for part in parts]

    for found in scores(x):
        assert_close(found, exact(x, T), 1e-3)  # float32: x0 to 1e-6, divided by singular values down to 0.1


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
@each
def test_the_covariance_of_the_jacobian_makes_pi_gdm_exact_for_any_gaussian(name, noise_std):
    sde, operator = SDES[name], dense((4,), MATRIX)
    y = DATA.sample(0, (1, 4)) @ MATRIX.T
    x = sde.perturb(DATA.sample(1, (3, 4)), T, DATA.sample(2, (3, 4)))
    guided = pigdm(sde, operator, y, noise_std, covariance="jacobian").wrap_predict(DATA.predict(sde))
    exact = posterior(DATA, MATRIX, y[0], noise_std).score_fn(sde)
    found, expected = jax.jit(lambda x: (score_of(guided(x, T), sde, T), exact(x, T)))(x)
    # At sigma = 50 the Jacobian, a difference from one, is known to 1e-7 sigma^2 / v = 1e-3.
    assert_close(found, expected, 1e-3 if name in ("ve", "edm", "cosine") else 2e-4)


def test_every_example_has_its_own_measurement():
    """A batch of operators and measurements gives the same as each of them alone."""
    known = np.array([[1, 0, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0]])
    y, x = DATA.sample(0, (3, 4)), DATA.sample(1, (3, 4))

    @CountingJit
    def guided(operator, y, x, t):
        parts = [METHODS[name](VP(), operator, y, 0.1, SETTINGS) for name in ("ddnm", "pigdm", "dps")]
        found = [score_of(part.wrap_predict(DATA.predict(VP()))(x, t), VP(), t) for part in parts]
        return jnp.stack(found, axis=1)

    def alone(i):
        return guided(mask((4,), known[i : i + 1]), y[i : i + 1], x[i : i + 1], T[i : i + 1])

    expected = jnp.concatenate([alone(i) for i in range(3)])
    np.testing.assert_allclose(guided(mask((4,), known), y, x, T), expected, rtol=1e-4, atol=1e-4)
    assert guided.num_traces == 2  # operators are arguments: one program for three masks


@pytest.mark.parametrize("covariance", ["isotropic", "jacobian"])
def test_a_limit_bounds_the_change_of_the_expected_data(covariance):
    """A measurement far from all data: the change of x0 keeps its direction, and its norm is limit sqrt(D v)."""
    sde, operator, y = VP(), dense((4,), MATRIX), jnp.full((1, 2), 100.0)
    x, predict = DATA.sample(1, (3, 4)), DATA.predict(VP())
    changes = []
    for limit in [math.inf, 1e6, 0.5]:
        part = pigdm(sde, operator, y, prior_variance=0.25, covariance=covariance, limit=limit)
        guided = part.wrap_predict(predict)
        changes.append(np.asarray(guided(x, T).x0 - predict(x, T).x0))
    free, far, near = changes
    np.testing.assert_array_equal(free, far)
    sizes = [np.linalg.norm(change, axis=1, keepdims=True) for change in (free, near)]
    np.testing.assert_allclose(sizes[1], 0.5 * np.sqrt(4 * 0.25), rtol=1e-4)  # float32 differences of expected data
    np.testing.assert_allclose(near / sizes[1], free / sizes[0], atol=1e-3)


def test_conjugate_gradients_solve_their_system():
    """As many iterations as dimensions are exact; an example whose system is not positive keeps its initial value."""
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(3, 6, 6))
    systems = roots @ roots.transpose(0, 2, 1) + 0.5 * np.eye(6)
    systems[2] = -systems[2]
    b = rng.normal(size=(3, 6))
    apply = functools.partial(jnp.einsum, "bij,bj->bi", jnp.asarray(systems, jnp.float32), precision="highest")
    diagonal = jnp.asarray(np.abs(np.diagonal(systems, axis1=1, axis2=2)), jnp.float32)
    u = conjugate_gradients(apply, jnp.asarray(b, jnp.float32), lambda r: r / diagonal, 8)
    np.testing.assert_allclose(u[:2], np.linalg.solve(systems[:2], b[:2, :, None])[..., 0], rtol=2e-3, atol=1e-4)
    np.testing.assert_array_equal(u[2], np.zeros(6))
    zero = conjugate_gradients(apply, jnp.zeros((3, 6)), lambda r: r, 8)
    np.testing.assert_array_equal(zero, np.zeros((3, 6)))


def test_dps_descends_the_gradient_of_the_residual():
    sde, operator, shape = VP(), downsample((4, 4, 1), 2), (3, 4, 4, 1)
    data = correlated(16, shift=0.5)
    predict, x, z = data.predict(sde), data.sample(0, shape), data.sample(1, shape)
    y, t_next = operator.measure(data.sample(2, shape)), T - 0.01

    def residual(x):
        return jnp.sum(jnp.linalg.norm((y - operator.measure(predict(x, T).x0)).reshape(3, -1), axis=1))

    @jax.jit
    def run():
        bare = ancestral()(z, predict, sde, x, T, t_next)
        step = dps(sde, operator, y, zeta=0.7).wrap_step(ancestral())(z, predict, sde, x, T, t_next)
        part = dps(sde, operator, y, 0.1, prior_variance=0.5, zeta=0.7, form="score")
        scores = [score_of(p(x, T), sde, T) for p in (part.wrap_predict(predict), predict)]
        return bare, step, *scores, jax.grad(residual)(x)

    bare, step, score, bare_score, gradient = run()
    np.testing.assert_allclose(step.x - bare.x, -0.7 * gradient, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(step.mean - bare.mean, -0.7 * gradient, rtol=1e-3, atol=1e-5)
    m, std = np.asarray(sde.mean_coeff(T)), np.asarray(sde.std(T))
    variance = 0.5 * std**2 / (0.5 * m**2 + std**2)
    # sqrt(M) = 2 of four blocks, and max(S) = 1 / 2.
    strength = (0.7 * 2 / np.sqrt(variance * 0.5**2 + 0.1**2)).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(score - bare_score, -strength * gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [*SDES, "ddpm"])
def test_every_method_finds_the_posterior_mean_with_every_sde(name):
    """Forty steps of every SDE by the same code: only its four functions differ."""
    sde = ddpm_chain(0.1, 20.0, 40) if name == "ddpm" else SDES[name]
    times = grids.levels(40) if name == "ddpm" else grids.log_snr(sde, 40, 1e-3 if name != "ve" else 1e-5)
    noise_std, num = 0.1, 500
    operator = dense((4,), MATRIX)
    y = DATA.sample(3, (1, 4)) @ MATRIX.T
    expected = posterior(DATA, MATRIX, y[0], noise_std)

    @jax.jit
    def draw():
        samples = {}
        for method, make in METHODS.items():
            if method == "none":  # it leaves all to the network
                continue
            part = make(sde, operator, y, noise_std, SETTINGS)
            sampler = pc(sde, part.wrap_step(ancestral()), none(), times)
            predict = part.wrap_predict(DATA.predict(sde))
            samples[method] = sampler(KEY, predict, (num, 4), constrain=part.constrain).x
        return samples

    distance = np.linalg.norm(DATA.mean - expected.mean)
    for method, x in draw().items():
        x = np.asarray(x, np.float64)
        # The others more or less ignore what the measured entries imply about the rest: see the benchmark below.
        error = np.linalg.norm(x.mean(axis=0) - expected.mean)
        assert error < (0.1 if method == "pigdm" else 0.6) * distance, method
        # The samples agree with the measurement: for the posterior the residual is 0.1 sqrt(2), for the prior 1.65.
        residual = np.sqrt(np.mean(np.sum((x @ MATRIX.T - np.asarray(y)) ** 2, axis=1)))
        # The steps of DPS have a constant length, and do not converge; self-guidance has a likelihood of unit noise.
        assert residual < (0.7 if method in ("dps", "self_guidance") else 0.3), method


@pytest.mark.parametrize(
    ("sampler", "make_operator"),
    [("pc", dense), ("multistep", products), ("ode", dense)],
    ids=["pc", "multistep", "ode"],
)
def test_a_guided_prediction_serves_every_sampler(sampler, make_operator):
    """Pi-GDM with the Jacobian's covariance: mean and covariance of the samples are those of the posterior."""
    sde, noise_std, num, operator = VP(), 0.3, 3000, make_operator((4,), MATRIX)
    y = DATA.sample(3, (1, 4)) @ MATRIX.T
    exact = posterior(DATA, MATRIX, y[0], noise_std)
    times = grids.log_snr(sde, 30, 1e-3)
    make = {
        "pc": lambda: pc(sde, ancestral(), none(), grids.log_snr(sde, 100, 1e-3)),
        "multistep": lambda: multistep(sde, SOLVERS["dpmpp_2m"], times),
        "ode": lambda: ProbabilityFlow(sde, rtol=1e-3, atol=1e-3, denoise=True),
    }
    part = pigdm(sde, operator, y, noise_std, covariance="jacobian", num_iterations=4)
    predict = part.wrap_predict(DATA.predict(sde))
    x = np.asarray(jax.jit(lambda: make[sampler]()(KEY, predict, (num, 4)).x)(), np.float64)
    spread = np.sqrt(np.diag(exact.cov).max() / num)
    # Five standard errors, and the solver's own error: first order in a hundred steps, second order in thirty.
    np.testing.assert_allclose(x.mean(axis=0), exact.mean, atol=5 * spread + 0.02)
    np.testing.assert_allclose(np.cov(x.T), exact.cov, atol=5 * np.sqrt(2 / num) * np.diag(exact.cov).max() + 0.02)


@pytest.mark.parametrize("method", ["ddnm", "pigdm"])
def test_the_measured_part_of_x0_is_exact_at_any_level_of_noise(method):
    """At a cumulative alpha of 1e-10, where x0 computed from a score has errors of 1e-7 / 1e-5 in float32."""
    sde, t = VP(beta_max=45.0), jnp.ones((3,))
    white, operator = Gaussian(np.zeros(4), 0.5 * np.eye(4)), dense((4,), MATRIX)
    x, y = DATA.sample(0, (3, 4)), operator.measure(DATA.sample(1, (3, 4)))
    m, std = sde.mean_coeff(t)[:, None], sde.std(t)[:, None]
    assert m[0, 0] ** 2 < 2e-10
    part = METHODS[method](sde, operator, y, 0.0, MethodSettings(prior_variance=0.5))
    found = part.wrap_predict(white.predict(sde))(x, t)
    np.testing.assert_allclose(operator.measure(found.x0), y, atol=2e-6)  # float32 sums of four products
    np.testing.assert_allclose(m * found.x0 + std * found.noise, x, atol=1e-6)


def test_the_benchmark_is_as_described():
    prior, known = benchmark.seasonal()
    assert known.sum() == 36 and len(known) == 48
    assert benchmark.SeasonalProblem().floor == pytest.approx(0.07, abs=0.001)
    assert np.linalg.eigvalsh(prior.cov).min() > 0.04  # the noise, so that the posterior is well defined


def test_invalid_settings_are_refused():
    operator, y = mask((4,), np.ones(4)), jnp.ones((1, 4))
    with pytest.raises(ValueError, match="covariance = 'exact'"):
        pigdm(VP(), operator, y, covariance="exact")
    with pytest.raises(ValueError, match="num_iterations = 0"):
        pigdm(VP(), operator, y, num_iterations=0)
    with pytest.raises(ValueError, match="form = 'loop'"):
        dps(VP(), operator, y, form="loop")
    with pytest.raises(ValueError, match="measurement has shape"):
        METHODS["projection"](VP(), operator, jnp.ones((1, 5)), 0.0, SETTINGS)


def test_a_misspelled_setting_is_refused():
    with pytest.raises(TypeError, match="covarience"):
        MethodSettings(covarience="jacobian")


def test_a_method_changes_only_its_own_part():
    operator, y = mask((4,), np.ones(4)), jnp.ones((1, 4))
    blank = Conditioned()
    assert blank.wrap_predict is blank.wrap_step is unchanged
    parts = {name: make(VP(), operator, y, 0.0, SETTINGS) for name, make in METHODS.items()}
    fields = ("wrap_predict", "wrap_step", "constrain")
    changed = {name: [f for f in fields if getattr(part, f) is not getattr(blank, f)] for name, part in parts.items()}
    assert changed == {
        "projection": ["constrain"],
        "ddnm": ["wrap_predict"],
        "pigdm": ["wrap_predict"],
        "dps": ["wrap_predict"],
        "self_guidance": ["wrap_predict"],
        "none": [],
    }
    assert METHODS["dps"](VP(), operator, y, 0.0, dataclasses.replace(SETTINGS, form="step")).wrap_step is not unchanged
