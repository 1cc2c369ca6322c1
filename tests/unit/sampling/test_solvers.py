"""Solvers for few steps: measured orders, distributions, counts, chains; and their time grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.sampler import make_sampler
from configs import default
from core.arrays import broadcast_to_rank
from corruption.predictions import from_score
from sampling import grids
from sampling.base import Sample, with_noise
from sampling.coefficients import METHODS
from sampling.multistep import multistep
from sampling.ode import ProbabilityFlow
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.ddim import ddim
from sampling.steps.heun import Churn, heun, time_at
from sampling.steps.none import none
from sde.chain import ddpm_chain, smld_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Mixture, correlated, propagate
from tests.support.tracing import CountingJit

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "edm": EDM(), "cosine": Cosine(), "linear": Linear()}
CHAINS = {"ddpm": ddpm_chain(0.1, 20.0, 1000), "smld": smld_chain(0.01, 50.0, 1000)}
# The predictor of UniPC-p has order p, and order p + 1 with its corrector (Zhao et al. 2023, theorem 3.1).
ORDERS = {
    "ddim": 1, "heun": 2, "dpmpp_2m": 2, "dpmpp_3m": 3, "unipc_2": 3, "unipc_3": 4, "deis_2": 2, "deis_3": 3,
}  # fmt: skip
DATA = correlated(4, shift=0.5)
KEY = jax.random.key(11)


def solver(name, sde, times, **options):
    """A sampler by the name of its method; `ddim_1` and `churn` are the noisy forms of ddim and heun."""
    moves = {"ddim": ddim(), "heun": heun(), "ddim_1": ddim(eta=1.0), "churn": heun(churn=Churn(20.0, len(times)))}
    if name in moves:
        return pc(sde, moves[name], none(), times, **options)
    return multistep(sde, METHODS[name], times, **options)


def root(cov):
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values) @ vectors.T


def solution(sde, x, t):
    """The probability flow from x [B, 4] at t = 1 to t: E_t + S_t^(1/2) S_1^(-1/2) (x - E_1)."""
    (mean_1, cov_1), (mean, cov) = DATA.moments(sde, 1.0), DATA.moments(sde, t)
    return mean + (np.asarray(x) - mean_1) @ np.linalg.inv(root(cov_1)) @ root(cov)


@pytest.mark.parametrize("name", ["vp", "subvp", "ve", "linear"])
def test_solvers_have_the_order_that_their_papers_state(name):
    """On a mixture, with equal steps in log-SNR, in double precision, against a solution to 1e-10."""
    sde, eps = CONTINUOUS[name], 1e-2
    parts = correlated(2, spread=0.6, shift=1.0, seed=1), correlated(2, spread=0.5, shift=1.0, seed=2)
    with jax.enable_x64(True):
        predict = Mixture((0.3, 0.7), parts).predict(sde)
        x = sde.prior_std * jax.random.normal(jax.random.key(0), (16, 2))
        start = (x, 1.0)
        exact = ProbabilityFlow(sde, eps, rtol=1e-10, atol=1e-10, solver="dopri8")(KEY, predict, x.shape, start=start)
        coarse, fine = (grids.log_snr(sde, n, eps) for n in (120, 240))

        def error(method, times):
            options = {"lower_final": False} if method in METHODS else {}
            found = solver(method, sde, times, denoise=False, **options)(KEY, predict, x.shape, start=start)
            return jnp.sqrt(jnp.mean((found.x - exact.x) ** 2))

        run = jax.jit(lambda: {method: (error(method, coarse), error(method, fine)) for method in ORDERS})
        errors = jax.device_get(run())
    for method, (one, two) in errors.items():
        order = np.log2(one / two)
        # The relative size of the next term is about h = 10 / 120, and larger for higher orders.
        assert abs(order - ORDERS[method]) < 0.12 * ORDERS[method], f"{method}: order {order}, errors {one}, {two}"
        assert two < 0.01, method


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_dozen_calls_of_every_solver_come_close(name):
    """Twelve equal steps in log-SNR, then Tweedie's formula; compared with DDIM."""
    sde = CONTINUOUS[name]
    eps = {"ve": 1e-5, "edm": 1e-4}.get(name, 1e-3)
    times, predict = grids.log_snr(sde, 12, eps), DATA.predict(sde)
    x = sde.prior_sample(KEY, (32, 4))
    run = jax.jit(lambda x: {m: solver(m, sde, times)(KEY, predict, x.shape, start=(x, 1.0)).x for m in ORDERS})
    exact = solution(sde, x, eps)
    errors = {m: float(np.sqrt(np.mean((found - exact) ** 2))) for m, found in run(x).items()}
    assert errors["ddim"] < 0.3  # of a standard deviation of 0.4 to 1
    assert all(error < 0.7 * errors["ddim"] for m, error in errors.items() if m in METHODS), errors
    assert errors["heun"] < errors["ddim"]  # for twice the calls; steps in log-SNR are not its own


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("grid", ["uniform", "log_snr"])
def test_all_run_on_some_levels_of_a_chain_and_end_at_its_data(name, grid):
    sde = CHAINS[name]
    times, predict = grids.GRIDS[grid](sde, 40, 0.0), DATA.predict(sde)
    x = sde.prior_sample(KEY, (32, 4))

    def run(x):
        return {m: solver(m, sde, times)(KEY, predict, x.shape, start=(x, 1.0)) for m in [*ORDERS, *STOCHASTIC]}

    exact = solution(sde, x, -1.0)
    for method, found in jax.jit(run)(x).items():
        assert int(found.num_evals) == (80 if method in ("heun", "churn") else 40)
        assert np.all(np.isfinite(found.x)), method
        if method in ORDERS:
            # Of standard deviations of 0.4 to 1, in 40 steps; equal steps in time are long where the noise ends.
            assert np.sqrt(np.mean((found.x - exact) ** 2)) < (0.15 if grid == "log_snr" else 0.4), method


STOCHASTIC = ["ddim_1", "dpmpp_2m_sde", "churn"]


@pytest.mark.parametrize("name", ["vp", "subvp", "ve"])
def test_noisy_solvers_reproduce_mean_and_covariance_of_the_data(name):
    sde, num, eps = CONTINUOUS[name], 20_000, 1e-3
    times, predict = grids.log_snr(sde, 80, eps), DATA.predict(sde)
    mean, cov = DATA.moments(sde, eps)
    noisy = [method for method in STOCHASTIC if method != "ddim_1"]
    draws = jax.jit(lambda: {m: solver(m, sde, times, denoise=False)(KEY, predict, (num, 4)).x for m in noisy})()
    for method, x in draws.items():
        x, spread = np.asarray(x, np.float64), np.diag(cov)
        # Five standard errors, and the error of 80 steps of a method of order two.
        np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * np.sqrt(spread / num) + 0.01, method)
        bound = 5 * np.sqrt((np.outer(spread, spread) + cov**2) / num) + 0.01
        np.testing.assert_array_less(np.abs(np.cov(x.T) - cov), bound, method)


@pytest.mark.parametrize("name", ["vp", "subvp", "ve", "edm"])
def test_ddim_has_the_right_law_for_every_eta(name):
    """Mean and covariance, propagated exactly: the error halves with the step for every amount of noise."""
    sde, exact = CONTINUOUS[name], DATA.moments(CONTINUOUS[name], 1e-2)
    with jax.enable_x64(True):
        start = tuple(jnp.asarray(a) for a in DATA.moments(sde, 1.0))

        def error(eta, n):
            law = propagate([ddim(eta=eta)], DATA.predict(sde), sde, start, grids.log_snr(sde, n, 1e-2))
            return jnp.stack([jnp.max(jnp.abs(found - true)) for found, true in zip(law, exact, strict=True)])

        run = jax.jit(lambda: {eta: (error(eta, 200), error(eta, 400)) for eta in (0.0, 0.5, 1.0)})
        found = jax.device_get(run())
    for eta, (coarse, fine) in found.items():
        assert fine[0] < 0.02 and fine[1] < 0.05, eta
        assert np.log2(coarse[1] / fine[1]) == pytest.approx(1, abs=0.15)  # the next term: h = 10 / 200


@pytest.mark.parametrize("name", [*CONTINUOUS, *CHAINS])
def test_ddim_with_all_its_noise_is_ancestral_sampling(name):
    """With the same noise, and therefore in distribution."""
    sde = CONTINUOUS.get(name) or CHAINS[name]
    t, t_next = jnp.array([0.9, 0.5, 0.2]), jnp.array([0.8, 0.2, 0.01 if name in CONTINUOUS else -1.0])
    z, data = jax.random.normal(KEY, (2, 3, 4))
    x = sde.perturb(data, t, z)
    args = (z, DATA.predict(sde), sde, x, t, t_next)
    one, other = jax.jit(lambda: (ddim(eta=1.0)(*args), ancestral(variance="posterior")(*args)))()
    for found, expected in zip(one, other, strict=True):
        # float32 of x, divided by the mean coefficient.
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * float(jnp.max(jnp.abs(x))))


@pytest.mark.parametrize("name", [*CONTINUOUS, *CHAINS])
def test_churn_keeps_the_distribution_and_raises_the_time(name):
    """Noisy data at time t become noisy data at t_hat, whose sigma is (1 + gamma) times as large."""
    sde = CONTINUOUS.get(name) or CHAINS[name]
    t = jnp.array([0.05, 0.3, 0.7, 1.0])
    sigma = sde.std(t) / sde.mean_coeff(t)
    churn = Churn(4.0, 10, s_tmin=float(sigma[1]) * 0.99)
    moved, t_hat = jax.jit(lambda: churn(jnp.ones((4, 1)), sde, jnp.full((4, 1), 2.0), t))()
    sigma_hat = sde.std(t_hat) / sde.mean_coeff(t_hat)
    np.testing.assert_array_equal(t_hat[jnp.array([0, 3])], t[jnp.array([0, 3])])  # below the range, and at its end
    np.testing.assert_array_equal(moved[jnp.array([0, 3]), 0], 2.0)
    ratio = np.minimum(1.4 * sigma[1:3], sde.std(jnp.asarray(1.0)) / sde.mean_coeff(jnp.asarray(1.0))) / sigma[1:3]
    rtol = 1e-3 if name in CONTINUOUS else 0.03  # float32 rounding of the time; the next of a thousand levels
    np.testing.assert_allclose(sigma_hat[1:3] / sigma[1:3], ratio, rtol=rtol)
    scale, std = sde.transition(t[1:3], t_hat[1:3])
    np.testing.assert_allclose(moved[1:3, 0], scale * 2 + std, rtol=1e-5)
    if name in CONTINUOUS:
        np.testing.assert_allclose(time_at(sde, sigma), t, rtol=2e-4)  # VP's std near its prior is flat in float32


def counter():
    calls = []

    def predict(x, t):
        jax.debug.callback(lambda t: calls.append(float(t)), t[0])
        return from_score(lambda x, t: -x / broadcast_to_rank(1 + t, x), VP())(x, t)

    return predict, calls


@pytest.mark.parametrize("method", [*ORDERS, "churn", "dpmpp_2m_sde"])
def test_evaluations_are_counted(method):
    for sde in [VP(), CHAINS["ddpm"]]:
        predict, calls = counter()
        sampler = solver(method, sde, grids.log_snr(sde, 6, 1e-3))
        samples = jax.jit(lambda key, sampler=sampler, fn=predict: sampler(key, fn, (2, 4)))(KEY)
        jax.block_until_ready(samples)
        jax.effects_barrier()
        assert int(samples.num_evals) == len(calls) and samples.num_evals.dtype == jnp.int32
        assert len(calls) == (12 if method in ("heun", "churn") else 6) + (0 if sde is CHAINS["ddpm"] else 1)
        assert min(calls) >= 0  # never asked for the noise of the data


@pytest.mark.parametrize("method", ["churn", "dpmpp_2m_sde", "unipc_3", "deis_3"])
def test_a_sample_depends_on_its_own_key_only_and_nothing_recompiles(method):
    sde = SubVP()
    predict, sampler = DATA.predict(sde), solver(method, sde, grids.log_snr(sde, 10, 1e-3))
    draw = CountingJit(lambda key, num: sampler(key, predict, (num, 2, 2, 1)).x, static_argnums=1)
    whole = draw(KEY, 64)
    for num in (1, 7):
        np.testing.assert_allclose(draw(KEY, num), whole[:num], rtol=1e-5, atol=1e-5)
    assert np.all(np.abs(draw(jax.random.key(1), 64) - whole) > 0)
    assert draw.num_traces == 3


@pytest.mark.parametrize("method", ["heun", "dpmpp_2m", "unipc_2"])
def test_intermediate_states_are_returned_on_request(method):
    """Four of twenty: the second equals the result of a run that ends there, the last is the sample itself."""
    sde, times = VP(), grids.uniform(20, 1e-3)
    predict = DATA.predict(sde)
    options = {"lower_final": False} if method in METHODS else {}
    whole = solver(method, sde, times, **options)(KEY, predict, (3, 4), trajectory=4)
    assert whole.states.shape == (4, 3, 4)
    np.testing.assert_array_equal(whole.states[-1], whole.x)
    half = solver(method, sde, times[:11], denoise=False, **options)(KEY, predict, (3, 4))
    np.testing.assert_allclose(whole.states[1], half.x, rtol=1e-5, atol=1e-5)
    assert half.states is None
    with pytest.raises(ValueError, match="use 0 to 20 states"):
        solver(method, sde, times)(KEY, predict, (3, 4), trajectory=21)


@pytest.mark.parametrize("method", ["churn", "dpmpp_2m_sde", "unipc_2"])
@pytest.mark.parametrize("name", ["vp", "smld"])
def test_known_values_arrive_exactly(method, name):
    sde = CONTINUOUS.get(name) or CHAINS[name]
    known = jnp.array([True, False, True, False])[None]
    data = jnp.array([[0.3, 9.0, -0.7, 9.0], [0.1, 9.0, 0.9, 9.0]])

    def constrain(z, sample, t):
        # The denoised sample of a continuous SDE has time 0; for a chain only a time below zero means the data.
        clean = broadcast_to_rank(jnp.where(t <= 0, 0.0, 1.0), data)
        mean = jnp.where(clean == 0, data, broadcast_to_rank(sde.mean_coeff(t), data) * data)
        noisy = mean + clean * broadcast_to_rank(sde.std(t), data) * z
        return Sample(jnp.where(known, noisy, sample.x), jnp.where(known, mean, sample.mean))

    sampler = solver(method, sde, grids.log_snr(sde, 12, 1e-3))
    x = jax.jit(lambda: sampler(KEY, DATA.predict(sde), (2, 4), constrain=with_noise(constrain)).x)()
    np.testing.assert_array_equal(x[:, ::2], data[:, ::2])
    assert np.all(np.abs(x[:, 1::2]) < 5)


def test_a_start_uses_the_rest_of_the_grid():
    sde, times = VP(), grids.log_snr(VP(), 40, 1e-3)
    predict = DATA.predict(sde)
    sampler = multistep(sde, METHODS["dpmpp_2m"], times, denoise=False)
    middle = multistep(sde, METHODS["dpmpp_2m"], times[:21], denoise=False)(KEY, predict, (4, 4))
    rest, whole = sampler(KEY, predict, (4, 4), start=(middle.x, times[20])), sampler(KEY, predict, (4, 4))
    assert int(rest.num_evals) == 20
    np.testing.assert_allclose(rest.x, whole.x, atol=0.02)  # one step of first order in forty


@pytest.mark.parametrize("name", CONTINUOUS)
def test_grids_decrease_between_exact_ends_in_equal_steps_of_their_coordinate(name):
    sde, eps = CONTINUOUS[name], 1e-3
    coordinates = {
        "uniform": lambda t: t,
        "quadratic": np.sqrt,
        "log_snr": lambda t: np.log(grids.noise_level(sde, t)),
        "polynomial": lambda t: grids.noise_level(sde, t) ** (1 / 7),
    }
    assert coordinates.keys() == grids.GRIDS.keys()
    for grid, coordinate in coordinates.items():
        times = grids.GRIDS[grid](sde, 15, eps)
        assert len(times) == 16 and times[0] == 1.0 and times[-1] == eps
        assert np.all(np.diff(times) < 0)
        u = coordinate(np.asarray(times))
        # float32 of the SDE's functions, near t = 1 for the cosine, whose mean coefficient is 5e-4 there
        np.testing.assert_allclose(np.diff(u), (u[-1] - u[0]) / 15, rtol=2e-3, err_msg=grid)


@pytest.mark.parametrize("name", CHAINS)
def test_grids_of_a_chain_are_different_levels_from_the_noisiest_to_its_data(name):
    sde = CHAINS[name]
    for grid, make in grids.GRIDS.items():
        for num in (1, 2, 20, 900):
            level = np.asarray(sde.index(jnp.asarray(make(sde, num, 0.0))))
            assert len(level) == num + 1 and level[0] == 999 and level[-1] == -1, grid
            assert num == 1 or level[-2] == 0
            assert np.all(np.diff(level) < 0), grid
        assert make(sde, 1000, 0.0) == grids.levels(1000)
    steps_of = np.diff(sde.index(jnp.asarray(grids.GRIDS["uniform"](sde, 20, 0.0)))[:-1])
    assert np.all(np.abs(steps_of + 999 / 19) <= 1)  # evenly chosen


def test_invalid_arguments_are_refused():
    vp = VP()
    for make, message in [
        (lambda: ddim(eta=1.1), r"must be in \[0, 1\]"),
        (lambda: Churn(-1.0), "s_churn >= 0"),
        (lambda: grids.log_snr(vp, 10, 0.0), "use an eps > 0"),
        (lambda: grids.log_snr(CHAINS["ddpm"], 1001, 0.0), "supports 1 to 1000 steps"),
        (lambda: grids.quadratic(0, 1e-3), "num_steps >= 1"),
        (lambda: grids.polynomial(EDM(), 1000, 1 - 1e-5), "float32"),
        (lambda: multistep(vp, METHODS["dpmpp_2m"], (1.0, 1.0)), "each below"),
        (lambda: ProbabilityFlow(vp, solver="rk4"), "solver = 'rk4' is not one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("continuous", [True, False])
def test_every_solver_is_built_with_every_grid(continuous):
    config = default.get_config()
    config.training.update(sde="vpsde", continuous=continuous)
    for grid in grids.GRIDS:
        config.sampling.update(method="solver", grid=grid)
        for name in METHODS:
            config.sampling.solver = name
            sampler = make_sampler(config)
            assert sampler.stepper.method is METHODS[name] and len(sampler.times) == 21
        config.sampling.update(method="pc", predictor="ddim", num_steps=10)
        assert len(make_sampler(config).times) == 11
        config.sampling.num_steps = None
    config.sampling.update(predictor="heun", churn=10.0, num_steps=18, churn_max=50.0)
    make_sampler(config)
    config.sampling.update(method="solver", corrector="langevin")
    with pytest.raises(ValueError, match="has no corrector; set corrector = 'none', or method = 'pc'"):
        make_sampler(config)
    config.sampling.update(method="ode", ode_solver="tsit5", ode_per_example=True)
    if continuous:
        assert make_sampler(config).per_example
        config.sampling.ode_solver = "tsit4"
        with pytest.raises(ValueError, match="nearest: tsit5"):
            make_sampler(config)
    else:
        with pytest.raises(ValueError, match="method = 'solver'"):
            make_sampler(config)
        config.sampling.update(method="pc", corrector="none", churn=0.0, num_steps=1001)
        with pytest.raises(ValueError, match="use at most as many"):
            make_sampler(config)
