"""The linear path of flow matching: its ends, its velocity, the change of time to VP, times, couplings, diffusions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import make_moons

from builders.likelihood import bits_per_dim
from builders.objective import make_objective
from builders.process import make_sde
from builders.sampler import make_sampler
from configs import default
from core.keys import example_keys
from models.parameterizations import FLOW
from sampling import grids
from sampling.coefficients import METHODS
from sampling.multistep import multistep
from sampling.pc import pc
from sampling.steps.ddim import ddim
from sampling.steps.euler_maruyama import DIFFUSIONS, euler_maruyama
from sampling.steps.heun import straight_heun
from sampling.steps.none import none
from sde import times
from sde.linear import Linear
from sde.vp import VP
from tests.support.oracles import Mixture, correlated, propagate
from training.objectives.coupling import optimal_transport
from training.objectives.score_matching import denoising_score_matching, flow, independent

DATA = correlated(4, shift=0.5)
MIXTURE = Mixture((0.3, 0.7), (correlated(2, 0.6, shift=1.0, seed=1), correlated(2, 0.5, shift=1.0, seed=2)))
KEY = jax.random.key(3)


def test_the_path_is_a_straight_line_and_everything_about_it_is_finite():
    sde, t = Linear(), jnp.array([0.0, 0.25, 0.5, 0.99, 1.0])
    np.testing.assert_allclose(sde.mean_coeff(t), [1.0, 0.75, 0.5, 0.01, 5e-3], rtol=1e-4)  # 1 - t in float32
    np.testing.assert_array_equal(sde.std(t), t)
    for value in (sde.drift_coeff(t), sde.diffusion(t), *sde.transition(t[:-1], t[1:])):
        assert np.all(np.isfinite(value))


def test_velocity_score_and_data_agree():
    """The ODE's velocity is noise - x0, also where drift and diffusion are infinite; inside it is that of the score."""
    sde, t = Linear(), jnp.array([0.01, 0.3, 0.9, 1.0])
    x = sde.perturb(jnp.full((4, 4), 0.4), t, jax.random.normal(KEY, (4, 4)))
    predict = DATA.predict(sde)
    x0, noise = predict(x, t)
    np.testing.assert_array_equal(sde.probability_flow(predict, x, t), noise - x0)
    inside = super(Linear, sde).probability_flow(predict, x[:3], t[:3])
    np.testing.assert_allclose(noise[:3] - x0[:3], inside, rtol=1e-4, atol=1e-4)  # rounding, times 1 / (1 - t)
    np.testing.assert_allclose(noise[:3], -t[:3, None] * DATA.score_fn(sde)(x, t)[:3], rtol=1e-5, atol=1e-6)
    again = FLOW.output(sde, x, t, noise - x0)
    np.testing.assert_allclose(again.x0, x0, atol=2e-6)
    np.testing.assert_allclose(again.noise, noise, atol=2e-6)


def test_the_weighting_flow_is_the_error_of_the_velocity():
    """As plain flow matching, |u(x_t, t) - (z - x0)|^2, at every time, for a network that is wrong."""
    sde, t = Linear(), jnp.array([1e-5, 0.2, 0.7, 0.998])
    x0, z, out = jax.random.normal(KEY, (3, 4, 6))
    loss = denoising_score_matching(
        lambda x, t: FLOW.output(sde, x, t, out), sde, x0, t, z, weighting=flow, reduce_mean=True
    )
    np.testing.assert_allclose(loss, jnp.mean((out - (z - x0)) ** 2, axis=1), rtol=1e-4)


def test_samples_are_those_of_vp_through_the_change_of_time():
    """At equal std / mean_coeff, x / mean_coeff is the same on both paths, for a solver of high order in that."""
    vp, sde, eps = VP(), Linear(), 1e-3
    grid = grids.log_snr(vp, 30, eps)
    sigma = grids.noise_level(vp, np.asarray(grid))
    there = tuple((sigma / (1 + sigma)).tolist())
    x = vp.prior_sample(KEY, (16, 2))
    scale = sde.mean_coeff(jnp.asarray(there[0])) / vp.mean_coeff(jnp.asarray(1.0))

    def end(sde, grid, x):
        solve = multistep(sde, METHODS["unipc_2"], grid)
        return solve(KEY, MIXTURE.predict(sde), x.shape, start=(x, grid[0])).x

    one, other = jax.jit(lambda: (end(vp, grid, x), end(sde, there, x * scale)))()
    np.testing.assert_allclose(other, one, atol=2e-3)  # float32 of 1 - t = 7e-3 and of VP's mean
    assert float(jnp.std(one)) > 0.4  # samples, not their mean


def root(cov):
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values) @ vectors.T


def test_orders_of_convergence_hold_between_the_very_ends():
    """In equal steps from t = 1, where sigma is infinite, to the data at 0, where std is 0; in double precision."""
    sde = Linear(end=1e-12)
    with jax.enable_x64(True):
        x = jax.random.normal(KEY, (16, 4), jnp.float64)
        exact = DATA.mean + np.asarray(x) @ root(DATA.cov)
        samplers = {"ddim": (ddim(), 1), "straight_heun": (straight_heun(), 2)}

        def error(step, num):
            solve = pc(sde, step, none(), grids.uniform(num, 0.0), denoise=False)
            found = solve(KEY, DATA.predict(sde), x.shape, start=(x, 1.0)).x
            return jnp.sqrt(jnp.mean((found - exact) ** 2))

        run = jax.jit(lambda: {name: (error(step, 40), error(step, 80)) for name, (step, _) in samplers.items()})
        for name, (coarse, fine) in run().items():
            assert np.log2(coarse / fine) == pytest.approx(samplers[name][1], abs=0.15), (name, coarse, fine)


def test_every_diffusion_has_the_marginals_of_the_path():
    """Mean and covariance, propagated exactly from t = 1: errors are those of a method of first order."""
    sde, eps = Linear(end=1e-9), 0.02
    exact = DATA.moments(sde, eps)
    with jax.enable_x64(True):
        start = (jnp.zeros(4), jnp.eye(4))
        chosen = {"sde": 1.0, "std": 2.0, "constant": 0.5}

        def error(step, num):
            law = propagate([step], DATA.predict(sde), sde, start, grids.uniform(num, eps))
            return jnp.stack([jnp.max(jnp.abs(found - true)) for found, true in zip(law, exact, strict=True)])

        steps = {name: euler_maruyama(diffusion=DIFFUSIONS[name](scale)) for name, scale in chosen.items()}
        run = jax.jit(lambda: {name: (error(step, 200), error(step, 400)) for name, step in steps.items()})
        for name, (coarse, fine) in run().items():
            assert np.all(fine < 0.03), (name, coarse, fine)
            # The mean is a straight line, which Euler's steps follow up to `end`.
            assert np.all(fine < 0.7 * coarse + 1e-6), (name, coarse, fine)


def test_times_have_the_distributions_that_their_names_say():
    keys = example_keys(KEY, 4096)
    t, weight = independent(times.logit_normal(1e-5, mean=-0.5, std=0.8))(keys)
    logit = np.log(np.asarray(t, np.float64) / (1 - np.asarray(t, np.float64)))
    # 4,096 normal numbers: 0.8 / 64 for the mean, 0.8 / 90 for the deviation, four times that.
    assert abs(logit.mean() + 0.5) < 0.05 and abs(logit.std() - 0.8) < 0.04
    np.testing.assert_array_equal(weight, 1.0)
    # On the linear path these are EDM's times.
    same, _ = independent(times.log_normal(Linear(), 1e-5, mean=-0.5, std=0.8))(keys)
    np.testing.assert_allclose(same, t, atol=1e-4)
    u = jnp.linspace(0.0, 1.0, 101)
    for scale in (-1.0, 0.0, 0.8, 1.75):
        t, _ = times.mode(1e-5, scale=scale)(u)
        assert np.all(np.diff(t) >= 0) and t[0] == pytest.approx(1e-5) and t[-1] == 1.0
        np.testing.assert_allclose(t, jnp.clip(1 - t[::-1], 1e-5, 1.0), atol=2e-5)  # symmetric about 1/2
    middle = [float(jnp.mean(jnp.abs(times.mode(1e-5, scale=s)(u)[0] - 0.5) < 0.2)) for s in (-1.0, 0.0, 1.75)]
    assert middle[0] < middle[1] < middle[2]


def test_a_shift_multiplies_sigma_and_follows_the_resolution():
    alpha = times.resolution_shift(64 * 64 * 3, 32 * 32 * 3)
    assert alpha == 2.0
    t, _ = times.shifted(times.uniform(1e-3), alpha)(jnp.array([0.0, 0.5, 0.999]))
    before, _ = times.uniform(1e-3)(jnp.array([0.0, 0.5, 0.999]))
    np.testing.assert_allclose(t / (1 - t), alpha * before / (1 - before), rtol=1e-4)
    config = default.get_config()
    config.training.update(sde="linear", time_shift_base=16 * 16 * 3)
    config.sampling.update(method="pc", predictor="ddim", num_steps=4, grid="uniform")
    shifted = make_sampler(config).times
    assert shifted[0] == 1.0 and shifted[-1] == 1e-3
    np.testing.assert_allclose(shifted[1:4], times.shift(np.array([0.75, 0.5, 0.25]), 2.0), atol=1e-3)


def test_the_coupling_is_optimal_and_changes_nothing_but_the_order():
    x0, z = jax.random.normal(KEY, (2, 32, 3, 2))
    paired = jax.jit(optimal_transport)(x0, z)
    cost = np.sum((np.asarray(x0)[:, None] - np.asarray(z)[None]) ** 2, axis=(2, 3))
    assert float(jnp.sum((x0 - paired) ** 2)) == pytest.approx(cost[linear_sum_assignment(cost)].sum(), rel=1e-5)
    assert sorted(np.asarray(paired)[:, 0, 0]) == sorted(np.asarray(z)[:, 0, 0])


def features(x, t):
    """Random Fourier features of (x, t), for a velocity by least squares."""
    weights = np.random.default_rng(5).normal(size=(3, 120)) * [[1.5], [1.5], [2.0]]
    angles = np.column_stack([x, t]) @ weights
    return np.column_stack([np.cos(angles), np.sin(angles), x, np.ones(len(x))])


def curvature(couple):
    """The mean of |u(x_t, t) - (x_1 - x_0)|^2 along the ODE of the velocity that pairs of two moons and noise imply."""
    rng = np.random.default_rng(0)
    x0 = 2 * (make_moons(3200, noise=0.05, random_state=1)[0] - [0.5, 0.25])
    z, t = rng.normal(size=x0.shape), rng.uniform(size=len(x0))
    z = np.concatenate([couple(a, b) for a, b in zip(np.split(x0, 25), np.split(z, 25), strict=True)])
    phi, target = features((1 - t[:, None]) * x0 + t[:, None] * z, t), z - x0
    weights = np.linalg.solve(phi.T @ phi + 1e-2 * np.eye(phi.shape[1]), phi.T @ target)
    x, path = rng.normal(size=(500, 2)), []
    start = x
    for time in np.linspace(1, 0.02, 50):
        path.append(features(x, np.full(500, time)) @ weights)
        x = x - 0.02 * path[-1]
    return np.mean([np.sum((u - (start - x)) ** 2, axis=1) for u in path])


def test_optimal_transport_straightens_the_paths_to_two_moons():
    coupled = jax.jit(optimal_transport)
    with_transport = curvature(lambda a, b: np.asarray(coupled(a, b)))
    assert with_transport < 0.5 * curvature(lambda a, b: b)


def config_of(**training):
    config = default.get_config()
    config.training.update(sde="linear", **training)
    config.sampling.update(method="solver", solver="unipc_2")
    return config


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda c: c.model.update(num_labels=10), "depend on what the network is conditioned on"),
        (lambda c: c.sampling.update(solver="dpmpp_2m_sde"), "leaves no score.*instead of dpmpp_2m_sde, 20 steps"),
        (lambda c: c.sampling.update(method="pc", predictor="ddim", corrector="langevin"), "a sampler that adds noise"),
        (lambda c: c.eval.update(bpd_method="bound"), "use 'ode'"),
        (lambda c: c.training.update(coupling="optimal"), "nearest: optimal_transport"),
    ],
)
def test_what_a_coupling_cannot_do_is_refused(build, message):
    config = config_of(coupling="optimal_transport")
    make_objective(config, 256)
    make_sampler(config)
    build(config)
    with pytest.raises(ValueError, match=message):
        make_objective(config, 256)
        make_sampler(config)
        bits_per_dim(config, make_sde(config), 256)
