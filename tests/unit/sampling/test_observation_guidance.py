"""Observation self-guidance: its gradient, its time, every sampler, and the oracle of forecasts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import series_oracle as oracle
from core.arrays import broadcast_to_rank
from corruption.predictions import Gaussian, score_of
from sampling import grids
from sampling.coefficients import METHODS as SOLVERS
from sampling.inverse.operators.dense import dense
from sampling.inverse.operators.mask import mask
from sampling.multistep import multistep
from sampling.observation_guidance import observation_guidance, quantile_levels
from sampling.ode import ProbabilityFlow
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.ddim import ddim
from sampling.steps.none import none
from sde.chain import ddpm_chain
from sde.ve import VE
from sde.vp import VP
from tests.support.operators import products
from tests.support.oracles import correlated

DATA = correlated(4, shift=0.5)
MATRIX = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
T = jnp.array([0.05, 0.3, 0.6])
LEVELS = quantile_levels(jnp.arange(3), 3)


def log_prob(loss, operator, y, x0):
    """log p(y | x0) summed over the batch, as the paper writes it; the third example has the highest level."""
    e = y - operator.measure(x0)
    if loss == "mean_square":
        return -jnp.sum(e**2)
    level = broadcast_to_rank(LEVELS, e)
    return -jnp.sum(jnp.maximum(level * e, (level - 1) * e))


def test_sample_i_of_s_has_the_level_of_its_quantile():
    np.testing.assert_allclose(quantile_levels(jnp.arange(3), 3), [0.25, 0.5, 0.75])


@pytest.mark.parametrize("loss", ["mean_square", "quantile"])
@pytest.mark.parametrize("which", ["mask", "dense", "products"])
@pytest.mark.parametrize("sde", [VP(), VE()], ids=["vp", "ve"])
def test_the_score_is_shifted_by_the_gradient_at_the_same_x_and_t(sde, which, loss):
    operators = {"mask": mask((4,), [1, 0, 1, 1]), "dense": dense((4,), MATRIX), "products": products((4,), MATRIX)}
    operator, predict = operators[which], DATA.predict(sde)
    y, x = operator.measure(DATA.sample(0, (3, 4))), DATA.sample(1, (3, 4))
    guided = observation_guidance(sde, operator, y, loss=loss, scale=3.0, level=LEVELS).wrap_predict(predict)

    @jax.jit
    def both(x):
        gradient = jax.grad(lambda x: log_prob(loss, operator, y, predict(x, T).x0))(x)
        return score_of(guided(x, T), sde, T), score_of(predict(x, T), sde, T) + 3.0 * gradient

    found, expected = both(x)
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(jnp.abs(expected).max()))  # sums in another order


def test_an_ancestral_step_moves_its_mean_by_the_gradient_before_the_step():
    """mean + s G^2 / scale grad log p(y | x0(x_t, t)); the published code takes it at (x_(t-1), t)."""
    chain = ddpm_chain(0.01, 10.0, 100)
    operator, y, x = mask((4,), [1, 0, 1, 1]), DATA.sample(0, (3, 4)), DATA.sample(1, (3, 4))
    t, t_next = (jnp.full((3,), chain.time(level)) for level in (40, 39))
    predict, z = DATA.predict(chain), jnp.zeros_like(x)
    guided = observation_guidance(chain, operator, y, scale=2.0).wrap_predict(predict)

    @jax.jit
    def moves(x):
        plain, moved = (ancestral()(z, each, chain, x, t, t_next).mean for each in (predict, guided))
        gradient = jax.grad(lambda x: log_prob("mean_square", operator, y * operator.known, predict(x, t).x0))
        scale, std = chain.transition(t_next, t)
        factor = broadcast_to_rank(2.0 * std**2 / scale, x)
        return moved - plain, factor * gradient(x), factor * gradient(plain)

    found, before, after = moves(x)
    np.testing.assert_allclose(found, before, atol=1e-5)
    assert np.abs(after - before).max() > 1e-3  # far above the tolerance


@pytest.mark.parametrize("sampler", ["ddim", "multistep", "ode"])
def test_every_sampler_is_drawn_to_what_is_observed(sampler):
    """The ancestral one is that of the oracle."""
    chain, sde = ddpm_chain(0.01, 10.0, 20), VP(0.01, 10.0)
    process = chain if sampler == "ddim" else sde
    times = grids.log_snr(process, 20, 1e-3)
    make = {
        "ddim": lambda: pc(chain, ddim(), none(), times),
        "multistep": lambda: multistep(sde, SOLVERS["dpmpp_2m"], times),
        "ode": lambda: ProbabilityFlow(sde, eps=1e-3, rtol=1e-2, atol=1e-2),
    }
    operator, y = mask((4,), [1, 1, 0, 1]), jnp.repeat(DATA.sample(0, (1, 4)), 64, axis=0)

    @jax.jit
    def run(scale):
        part = observation_guidance(process, operator, y, scale=scale)
        return make[sampler]()(jax.random.key(0), part.wrap_predict(DATA.predict(process)), y.shape).x

    free, guided = (np.sqrt(((run(scale) - y) ** 2)[:, [0, 1, 3]].mean()) for scale in (0.0, 4.0))
    assert guided < 0.6 * free


def saturating(sde):
    """36 values that are all equal, N(0, 1), by a network that predicts noise of at most four, whatever x is."""

    def predict(x, t):
        m, std = (broadcast_to_rank(part, x) for part in (sde.mean_coeff(t), sde.std(t)))
        x0 = m * 36 * x.mean(1, keepdims=True) / (36 * m**2 + std**2)
        noise = jnp.clip((x - m * x0) / std, -4, 4)
        return Gaussian((x - std * noise) / m, noise)

    return predict


def test_large_scales_of_squares_do_not_leave_the_data():
    """Steps that overshoot do so by more each time, because beyond the data x0 is x / m; bounded slopes end that."""
    chain, operator = ddpm_chain(0.01, 10.0, 100), mask((36,), np.arange(36) < 24)
    y = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (64, 1)), (64, 36))

    @jax.jit
    def error(limit):
        part = observation_guidance(chain, operator, y, scale=8.0, limit=limit)
        sampler = pc(chain, ancestral(), none(), grids.log_snr(chain, 100, 0.0))
        return jnp.abs(sampler(jax.random.key(0), part.wrap_predict(saturating(chain)), y.shape).x - y).max()

    assert error(12.0) < 1.0
    assert not error(1e9) < 100.0  # or NaN


def test_invalid_settings_are_refused():
    operator, y = mask((4,), np.ones(4)), jnp.ones((1, 4))
    with pytest.raises(ValueError, match="loss = 'pinball' is not one of 'mean_square', 'quantile'"):
        observation_guidance(VP(), operator, y, loss="pinball")
    with pytest.raises(ValueError, match=r"shape \(1, 5\), but this operator produces \[B, \*\(4,\)\]"):
        observation_guidance(VP(), operator, jnp.ones((1, 5)))
    with pytest.raises(ValueError, match="no quantiles"):
        complex_valued = products((4,), MATRIX + 1j)
        observation_guidance(VP(), complex_valued, complex_valued.measure(y), loss="quantile")


def test_what_is_not_observed_may_be_missing():
    operator = mask((4,), [1, 0, 1, 1])
    predict, x = DATA.predict(VP()), DATA.sample(1, (3, 4))
    full, gaps = (jnp.asarray([[1.0, value, 0.5, 0.2]] * 3) for value in (7.0, np.nan))
    found = [observation_guidance(VP(), operator, y).wrap_predict(predict)(x, T) for y in (full, gaps)]
    np.testing.assert_array_equal(found[0].x0, found[1].x0)


def test_forecasts_of_a_gaussian_process_are_as_good_as_published():
    """The table of `benchmarks.series_oracle` in short, relative to the exact posterior of the same series.

    The bounds 0.445 and 0.440 are for an exact CRPS of 0.4145, and 0.20 includes a floor of 0.074 of 100 samples: 0.19
    without. All samples are of the same 24 series, so that most of the noise of the CRPS cancels.
    """
    forecasts = oracle.Forecasts(24, 40)
    exact = forecasts.exact()
    found = {name: forecasts.run(oracle.WAYS[name]) for name in
             ("unconditional", "mean square, scale 1", "quantile, scale 8")}  # fmt: skip
    free, square, quantile = found.values()
    assert square.crps - exact.crps <= 0.445 - 0.4145 and quantile.crps - exact.crps <= 0.440 - 0.4145
    assert (square.mean_error**2 - forecasts.floor**2) ** 0.5 <= 0.19
    assert max(square.crps, quantile.crps) <= 0.8 * free.crps
