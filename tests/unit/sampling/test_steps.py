"""What the steps do to a Gaussian, exactly: order of convergence of predictors, stationary law of correctors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import draw_normal
from corruption.predictions import from_score
from sampling import grids
from sampling.steps import table
from sampling.steps.ancestral import ancestral
from sampling.steps.euler_maruyama import euler_maruyama
from sampling.steps.langevin import annealed_langevin, langevin
from sampling.steps.reverse_diffusion import reverse_diffusion
from sde.chain import ddpm_chain, smld_chain
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture, correlated, propagate
from tests.support.tracing import CountingJit

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
CHAINS = {"ddpm": lambda n: ddpm_chain(0.1, 20.0, n), "smld": lambda n: smld_chain(0.01, 50.0, n)}
PREDICTORS = {
    "euler_maruyama": euler_maruyama(),
    "euler_maruyama_ode": euler_maruyama(probability_flow=True),
    "reverse_diffusion": reverse_diffusion(),
    "reverse_diffusion_ode": reverse_diffusion(probability_flow=True),
    "ancestral_posterior": ancestral(variance="posterior"),
    "ancestral_transition": ancestral(variance="transition"),
}
DATA = correlated(3, shift=0.5)


def errors(sde, times, exact, moves):
    """Largest errors of mean and covariance after `moves` down the grid, from the exact law at its beginning."""
    start = tuple(jnp.asarray(a) for a in DATA.moments(sde, times[0]))
    mean, cov = propagate(moves, DATA.predict(sde), sde, start, times)
    return jnp.stack([jnp.max(jnp.abs(mean - exact[0])), jnp.max(jnp.abs(cov - exact[1]))])


@pytest.mark.parametrize("name", CONTINUOUS)
def test_predictors_converge_at_first_order(name):
    """Mean and covariance, propagated exactly in double precision, against those of the marginal."""
    sde = CONTINUOUS[name]
    with jax.enable_x64(True):
        exact = DATA.moments(sde, 1e-3)
        run = jax.jit(
            lambda: {
                key: [errors(sde, grids.uniform(n, 1e-3), exact, [step]) for n in (400, 800)]
                for key, step in PREDICTORS.items()
            }
        )
        for key, (coarse, fine) in run().items():
            coarse, fine = np.asarray(coarse), np.asarray(fine)
            if (
                key.startswith("ancestral") or name == "ve"
            ):  # the mean is E[x at t_next | x at t]; VE does not change it
                assert fine[0] < 1e-12
                coarse, fine = coarse[1:], fine[1:]
            # VE, first-order error of the variance v: int (u - 1) / (u + 1)^3 du = 0 over u = sigma^2 / v in (0, oo).
            expected = 2 if (name, key) == ("ve", "euler_maruyama") else 1
            order = np.log2(coarse / fine)
            # The next term of the error is of relative size h = 20 / 400 at most: log2(1 +- 0.1) = 0.15.
            assert np.all(np.abs(order - expected) < 0.15), f"{key}: order {order}, errors {coarse}, {fine}"
            assert np.max(fine) < 0.05, key  # of a standard deviation of 0.4 to 1


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("variance", ["posterior", "transition"])
def test_ancestral_sampling_of_a_chain_reaches_its_data(name, variance):
    """Over all levels to the data: the error halves with twice the levels."""
    exact = (DATA.mean, DATA.cov)
    step, found = ancestral(variance=variance), []
    for num_scales in [200, 400]:
        chain = CHAINS[name](num_scales)
        found.append(np.asarray(jax.jit(lambda c=chain, n=num_scales: errors(c, grids.levels(n), exact, [step]))()))
    assert found[1][0] < 1e-3  # the mean is exact, but for float32 rounding of 400 steps
    assert found[1][1] < 0.05  # of variances 0.16 to 1; the tables are of order 20 / 400
    assert 1.7 < found[0][1] / found[1][1] < 2.3  # order one, and the terms of order two


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("snr", [0.16, 0.5])
def test_annealed_langevin_has_its_stationary_variance(name, snr):
    """Unadjusted Langevin dynamics with step e has stationary variance v / (1 - e / (2 v)), in each eigendirection."""
    sde, t = CONTINUOUS[name], 0.6
    with jax.enable_x64(True):
        mean, cov = DATA.moments(sde, t)
        alpha = float(sde.transition(jnp.asarray(0.55), jnp.asarray(t))[0]) ** 2
        size = 2 * alpha * (snr * float(sde.std(jnp.asarray(t)))) ** 2
        values, vectors = np.linalg.eigh(cov)
        expected = vectors * (values / (1 - size / (2 * values))) @ vectors.T
        move = annealed_langevin(snr=snr)
        start = (jnp.zeros(3), jnp.eye(3))
        found = propagate([move], DATA.predict(sde), sde, start, (t, 0.55), repeat=1000)
        np.testing.assert_allclose(found[0], mean, rtol=1e-6, atol=1e-9)  # (1 - 2 snr^2)^1000 of the start is left
        np.testing.assert_allclose(found[1], expected, rtol=1e-6, atol=1e-9 * values.max())


def test_langevin_has_its_stationary_variance():
    """On N(0, v) in many dimensions |z| / |score| = v / std(x), and the stationary variance is v (1 + alpha snr^2)."""
    sde, t, t_next, shape = CONTINUOUS["vp"], 0.3, 0.29, (16, 4096)
    data = Gaussian(np.zeros(1), np.eye(1) * 0.25)
    variance = float(data.moments(sde, t)[1][0, 0])
    alpha = float(sde.transition(jnp.asarray(t_next), jnp.asarray(t))[0]) ** 2

    predict = from_score(lambda x, t: -x / variance, sde)

    @CountingJit
    def widths(snr, key):
        step = langevin(snr=snr)
        times = jnp.full((16,), t), jnp.full((16,), t_next)

        def body(x, i):
            x = step(draw_normal(jax.random.fold_in(key, i), shape), predict, sde, x, *times).x
            return x, jnp.mean(x**2)

        start = jnp.sqrt(variance) * draw_normal(jax.random.fold_in(key, 1_000_000), shape)
        return jax.lax.scan(body, start, jnp.arange(300))[1][100:].mean()

    for snr in [0.16, 0.3, 0.6]:
        found = float(widths(snr, jax.random.key(1))) / variance
        # 65536 coordinates for 200 steps; x^2 decorrelates in 1 / (2 snr^2) = 20 steps or fewer: 4 sqrt(2 / 330000).
        assert found == pytest.approx(1 + alpha * snr**2, abs=0.01)
    assert widths.num_traces == 1


def test_norms_of_the_batch_couple_its_examples_and_norms_of_an_example_do_not():
    x = jnp.array([[1.0, 2.0], [3.0, -1.0]])
    args = (jnp.ones((2, 2)), from_score(lambda x, t: -x, VE()), VE(), x, jnp.full(2, 0.5), jnp.full(2, 0.4))
    other = (args[0], args[1], args[2], x.at[1].multiply(10.0), *args[4:])
    own, batch = langevin(snr=0.16), langevin(snr=0.16, norm="batch")
    np.testing.assert_array_equal(own(*args).x[0], own(*other).x[0])
    assert np.abs(batch(*args).x[0] - batch(*other).x[0]).max() > 1e-3


def test_tables_make_every_step_from_the_same_settings():
    x, predict = jnp.ones((2, 3)), from_score(lambda x, t: -x, VP())
    steps = [make(table.PredictorSettings(eta=0.5)) for make in table.PREDICTORS.values()]
    steps += [make(table.CorrectorSettings(snr=0.1)) for make in table.CORRECTORS.values()]
    for step in steps:
        assert step(x, predict, VP(), x, jnp.full(2, 0.5), jnp.full(2, 0.4)).x.shape == x.shape


def test_a_misspelled_setting_is_refused():
    with pytest.raises(TypeError, match="varience"):
        table.PredictorSettings(varience="transition")
    with pytest.raises(TypeError, match="nrom"):
        table.CorrectorSettings(snr=0.1, nrom="batch")


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="variance = 'prior'"):
        ancestral(variance="prior")
    with pytest.raises(ValueError, match="norm = 'pixel'"):
        langevin(snr=0.1, norm="pixel")
    with pytest.raises(ValueError, match="continuous time"):
        x = jnp.ones((2, 3))
        euler_maruyama()(x, from_score(lambda x, t: -x, VP()), CHAINS["ddpm"](100), x, jnp.ones(2), jnp.zeros(2))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_posterior_mean_is_the_conditional_expectation_of_the_data(name):
    """E[x_0 | x_t] = mu + m S (m^2 S + std^2 I)^-1 (x_t - m mu) for Gaussian data."""
    sde, t = CONTINUOUS[name], jnp.array([0.05, 0.3])
    x = jnp.array([[0.5, -1.0, 0.2], [1.0, 0.3, -0.4]])
    found = DATA.predict(sde)(x, t).x0
    for i in range(2):
        m, (mean, cov) = float(sde.mean_coeff(t[i])), DATA.moments(sde, float(t[i]))
        expected = DATA.mean + m * DATA.cov @ np.linalg.solve(cov, x[i] - mean)
        np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-5)  # float32, divided by m >= 0.6


@pytest.mark.parametrize("name", CONTINUOUS)
def test_scores_of_the_oracles_are_gradients_of_their_densities(name):
    sde = CONTINUOUS[name]
    mixture = Mixture((0.3, 0.7), (correlated(4, shift=1.0, seed=1), correlated(4, spread=0.5, seed=2)))
    x, t = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 2, 1)), jnp.float32), jnp.array([0.02, 0.3, 0.9])
    for oracle in [mixture, mixture.parts[0]]:
        gradient = jax.grad(lambda x, oracle=oracle: oracle.logp(sde, x, t).sum())(x)
        np.testing.assert_allclose(oracle.score_fn(sde)(x, t), gradient, rtol=1e-4, atol=1e-4)  # float32, |score| ~ 10
