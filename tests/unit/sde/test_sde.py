"""Laws that every SDE obeys, and numbers of the published implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.arrays import broadcast_to_rank
from core.keys import draw_normal, example_keys, fold_in
from corruption.predictions import from_score
from sde.chain import ddpm_chain, smld_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.linear import Linear
from sde.log_linear import LogLinear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.tracing import CountingJit

PUBLISHED = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
CONTINUOUS = {**PUBLISHED, "edm": EDM(), "cosine": Cosine(), "linear": Linear(), "log_linear": LogLinear()}
EVERY = {**CONTINUOUS, "ddpm": ddpm_chain(0.1, 20.0, 100), "smld": smld_chain(0.01, 50.0, 100)}
each_continuous = pytest.mark.parametrize("sde", CONTINUOUS.values(), ids=CONTINUOUS)
each = pytest.mark.parametrize("sde", EVERY.values(), ids=EVERY)


def score(x, t):
    return -x / broadcast_to_rank(1 + t, x)


@each_continuous
def test_moments_solve_the_equations_of_the_sde(sde):
    """m' = drift m and (std^2)' = 2 drift std^2 + diffusion^2, by automatic differentiation of the closed forms."""
    t = jnp.linspace(1e-3, 1.0, 50)
    mean_slope = jax.vmap(jax.grad(sde.mean_coeff))(t)
    variance_slope = jax.vmap(jax.grad(lambda t: sde.std(t) ** 2))(t)
    f, g = sde.drift_coeff(t), sde.diffusion(t)
    np.testing.assert_allclose(mean_slope, f * sde.mean_coeff(t), rtol=1e-5)  # float32 rounding, a few operations
    # 2 f std^2 + g^2 cancels near t = 1 for VP and sub-VP: compare on the scale of its terms.
    error = np.abs(variance_slope - (2 * f * sde.std(t) ** 2 + g**2))
    assert np.all(error <= 1e-5 * (np.abs(2 * f * sde.std(t) ** 2) + g**2))


@each
def test_transitions_compose(sde):
    """From r to s and then from s to t is the same Gaussian as from r to t."""
    r, s, t = jnp.array([0.015, 0.2, 0.5]), jnp.array([0.1, 0.5, 0.7]), jnp.array([0.4, 0.9, 1.0])
    (a, p), (b, q), (c, u) = sde.transition(r, s), sde.transition(s, t), sde.transition(r, t)
    np.testing.assert_allclose(a * b, c, rtol=1e-5)
    np.testing.assert_allclose(jnp.sqrt((b * p) ** 2 + q**2), u, rtol=1e-5)


@each
def test_transition_of_no_length_does_nothing(sde):
    t = jnp.array([0.02, 0.3, 1.0])
    scale, std = sde.transition(t, t)
    np.testing.assert_array_equal(scale, 1.0)
    np.testing.assert_array_equal(std, 0.0)


@each
def test_everything_compiles_once_for_any_rank(sde):
    predict = from_score(score, sde)
    for shape in [(3, 5), (3, 4, 2), (3, 4, 4, 2)]:
        x, t = jnp.ones(shape), jnp.array([0.1, 0.5, 0.9])
        fn = CountingJit(lambda x, t: (sde.perturb(x, t, x), sde.reverse_drift(predict, x, t), sde.prior_logp(x)))
        first = fn(x, t)
        fn(x + 1, t * 0.5)
        assert fn.num_traces == 1
        assert first[0].shape == first[1].shape == shape and first[2].shape == (3,)


@each
def test_the_prior_density_is_that_of_its_samples(sde):
    x = sde.prior_sample(jax.random.key(0), (2000, 8))
    entropy = 8 * 0.5 * np.log(2 * np.pi * np.e * sde.prior_std**2)
    # The log-density of a Gaussian in D dimensions has variance D / 2.
    assert abs(float(-sde.prior_logp(x).mean()) - entropy) < 4 * np.sqrt(4 / 2000)


def test_noise_of_an_example_does_not_depend_on_its_batch():
    key = jax.random.key(3)
    whole = draw_normal(fold_in(example_keys(key, 6), 7), (6, 4, 2))
    part = draw_normal(fold_in(example_keys(key, 2, start=3), 7), (2, 4, 2))
    np.testing.assert_array_equal(whole[3:5], part)


@pytest.mark.parametrize("name", PUBLISHED)
def test_coefficients_equal_the_published_numbers(name, golden):
    g = golden(f"sde_{name}")
    sde, x = CONTINUOUS[name], jnp.asarray(g["x"])
    drift, mean = [], []
    for t in jnp.asarray(g["t"]):
        drift.append(broadcast_to_rank(sde.drift_coeff(t), x) * x)
        mean.append(broadcast_to_rank(sde.mean_coeff(t), x) * x)
    with jax.enable_x64(True):  # at t = 1 the two terms of VP's reverse drift cancel for this score
        predict, times, x = from_score(score, sde), np.asarray(g["t"], np.float64), jnp.asarray(g["x"], jnp.float64)
        reverse = [sde.reverse_drift(predict, x, jnp.asarray(t)) for t in times]
        flow = [sde.probability_flow(predict, x, jnp.asarray(t)) for t in times]
    t = jnp.asarray(g["t"])
    g.check("drift", np.stack(drift))
    g.check("mean", np.stack(mean))
    g.check("diffusion", sde.diffusion(t))
    g.check("std", sde.std(t))
    g.check("reverse_sde_drift", np.stack(reverse))
    g.check("reverse_sde_diffusion", sde.diffusion(t))
    g.check("reverse_ode_drift", np.stack(flow))
    g.check("prior_logp", sde.prior_logp(jnp.asarray(g["z"])))


@pytest.mark.parametrize("name", ["vp", "subvp"])
def test_std_near_zero_keeps_its_digits(name, golden):
    """The published float32 value is off by 0.5% to 1% at t = 1e-5; ours agrees with double precision to 1e-5."""
    g = golden(f"sde_{name}")
    t, exact = g["t"][0, 0], g["std_f64"][0, 0]
    assert abs(float(CONTINUOUS[name].std(jnp.asarray(t))) / exact - 1) < 1e-5  # rounding of t and of the constants
    assert abs(float(g["std"][0, 0]) / exact - 1) > 1e-3


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_chains_take_the_published_discrete_steps(name, golden):
    """Transition from level i - 1 to level i: `f = (scale - 1) x`, `G = std`."""
    g = golden(f"sde_{name}")
    chain = ddpm_chain(0.1, 20.0, 1000) if name == "vp" else smld_chain(0.01, 50.0, 1000)
    x, t = jnp.asarray(g["x"]), jnp.asarray(g["t"])
    np.testing.assert_array_equal(chain.index(t), g["timestep_index"])
    level = chain.index(t)
    here, below = (level + 0.25) / 999, (level - 1 + 0.25) / 999
    below = jnp.where(level == 0, -1.0, below)
    scale, std = chain.transition(below, here)
    # var = std_i^2 - scale^2 std_{i-1}^2 in float32: a few ulp of std_i^2 beside beta_i >= 1e-4.
    np.testing.assert_allclose(std, g["discretize_G_f64"], rtol=2e-4)
    f = np.stack([broadcast_to_rank(a - 1, x) * x for a in scale])
    np.testing.assert_allclose(f, g["discretize_f_f64"], rtol=2e-4, atol=1e-6)
    if name == "vp":
        levels = jnp.asarray((np.arange(1000) + 0.25) / 999, jnp.float32)
        g.check("sqrt_alphas_cumprod", chain.mean_coeff(levels))
        g.check("sqrt_1m_alphas_cumprod", chain.std(levels))
    else:
        g.check("discrete_sigmas", chain.std(jnp.asarray((np.arange(1000) + 0.25) / 999, jnp.float32)))


def test_a_beta_table_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="use num_scales > 20"):
        ddpm_chain(0.1, 20.0, 20)
