"""Steps and runs of the published implementation, with all random numbers given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.arrays import broadcast_to_rank
from corruption.predictions import from_score
from sampling import grids
from sampling.ode import ProbabilityFlow
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.euler_maruyama import euler_maruyama
from sampling.steps.langevin import annealed_langevin, langevin
from sampling.steps.none import none
from sampling.steps.reverse_diffusion import reverse_diffusion
from sde.chain import ddpm_chain, smld_chain
from sde.flow import integrate
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.chains import Published

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
CHAINS = {"vp": lambda n: ddpm_chain(0.1, 20.0, n), "ve": lambda n: smld_chain(0.01, 50.0, n)}
KEY = jax.random.key(0)


def published(name, num_scales):
    return Published(CONTINUOUS[name], CHAINS[name](num_scales)) if name in CHAINS else CONTINUOUS[name]


def scores(g, name):
    sde, mu, s = CONTINUOUS[name], jnp.asarray(g["gauss_mu"])[None], float(g["gauss_std"])

    def gauss(x, t):
        m, std = broadcast_to_rank(sde.mean_coeff(t), x), broadcast_to_rank(sde.std(t), x)
        return -(x - m * mu) / (m**2 * s**2 + std**2)

    return {"lin": lambda x, t: -x / broadcast_to_rank(1 + t, x), "gauss": gauss}


def gauss_predict(g, name):
    return from_score(scores(g, name)["gauss"], CONTINUOUS[name])


UPDATES = {
    "euler_maruyama": euler_maruyama(),
    "euler_maruyama_ode": euler_maruyama(probability_flow=True),
    "reverse_diffusion": reverse_diffusion(),
    "reverse_diffusion_ode": reverse_diffusion(probability_flow=True),
    "langevin_n1": langevin(snr=0.16, norm="batch"),
    "langevin_n2": langevin(snr=0.16, norm="batch"),
    "ald_n1": annealed_langevin(snr=0.16),
    "ald_n2": annealed_langevin(snr=0.16),
}


def update(g, name, method, step, score_fn):
    """One predictor step, or as many corrector steps as the method's name says."""
    x, t, z = jnp.asarray(g[f"{name}_x"]), jnp.asarray(g[f"{name}_t"]), jnp.asarray(g["z"])
    sde = CHAINS[name](1000) if method == "ancestral_sampling" else published(name, 1000)
    predict = from_score(score_fn, sde)
    t_next = t - 1 / 1000 if method.startswith("euler") or name == "subvp" else t - 1 / 999
    for k in range(2 if method.endswith("n2") else 1):
        sample = step(z[k], predict, sde, x, t, t_next)
        x = sample.x
    return sample


@pytest.mark.parametrize("score", ["lin", "gauss"])
@pytest.mark.parametrize("name", ["vp", "ve"])
def test_every_published_update_is_reproduced(name, score, golden):
    g = golden("samplers_updates")
    assert float(g["snr"]) == np.float32(0.16)
    score_fn = scores(g, name)[score]
    variance = "transition" if name == "vp" else "posterior"
    methods = {**UPDATES, "ancestral_sampling": ancestral(variance=variance)}
    stored = {key for key in g.index["keys"] if key.startswith(f"{name}_{score}_") and key.endswith("_x_mean")}
    assert stored == {f"{name}_{score}_{method}_x_mean" for method in methods}
    g.check(f"{name}_{score}_score", score_fn(jnp.asarray(g[f"{name}_x"]), jnp.asarray(g[f"{name}_t"])))
    run = jax.jit(lambda: {method: update(g, name, method, step, score_fn) for method, step in methods.items()})
    for method, sample in run().items():
        # The difference of two float32 times near 1 gives a step of 1/1000 with a relative error of 3e-5.
        scale = 4 if method.startswith("euler") else 1
        g.check(f"{name}_{score}_{method}_x", sample.x, scale)
        g.check(f"{name}_{score}_{method}_x_mean", sample.mean, scale)


@pytest.mark.parametrize("score", ["lin", "gauss"])
def test_every_published_update_of_subvp_is_reproduced(score, golden):
    """For sub-VP the reference has only Euler-Maruyama, and also stores it under the name of reverse diffusion."""
    g = golden("samplers_updates")
    score_fn = scores(g, "subvp")[score]
    g.check(f"subvp_{score}_score", score_fn(jnp.asarray(g["subvp_x"]), jnp.asarray(g["subvp_t"])))
    for suffix in ["", "_ode"]:
        sample = update(g, "subvp", "euler", UPDATES[f"euler_maruyama{suffix}"], score_fn)
        for method in ["euler_maruyama", "reverse_diffusion"]:
            g.check(f"subvp_{score}_{method}{suffix}_x", sample.x)
            g.check(f"subvp_{score}_{method}{suffix}_x_mean", sample.mean)


def test_reverse_diffusion_and_euler_maruyama_differ_by_the_square_of_the_step(golden):
    """For sub-VP this is the deviation from the published step: of order dt^2 in the mean, dt^(3/2) with the noise."""
    g = golden("samplers_updates")
    for name, sde in CONTINUOUS.items():
        x, t, z = jnp.asarray(g[f"{name}_x"])[:3], jnp.asarray(g[f"{name}_t"])[:3], jnp.asarray(g["z"])[0, :3]
        predict = gauss_predict(g, name)

        def gaps(dt, sde=sde, x=x, t=t, z=z, predict=predict):
            a = UPDATES["reverse_diffusion"](z, predict, sde, x, t, t - dt)
            b = UPDATES["euler_maruyama"](z, predict, sde, x, t, t - dt)
            return tuple(float(jnp.linalg.norm(p - q)) for p, q in [(a.mean, b.mean), (a.x, b.x)])

        (mean_1, x_1), (mean_2, x_2) = gaps(0.008), gaps(0.002)
        # A quarter of the step: 16 and 8 times less, up to the next order (dt beta = 0.16, for VE dt 2 ln 5000 = 0.14).
        assert 12 < mean_1 / mean_2 < 20, name
        assert 6.4 < x_1 / x_2 < 10, name


def test_continuous_transition_is_that_of_the_chain_to_first_order():
    """DDPM's betas are values of beta(t) where the SDE has integrals, order 1/N apart; SMLD's levels are sigma(t)."""
    deviations = {"vp": [], "ve": []}
    for num_scales in [250, 1000]:
        i = jnp.asarray(np.array([0.1, 0.5, 0.9]) * num_scales, jnp.int32)
        for name, of in deviations.items():
            chain, sde = CHAINS[name](num_scales), CONTINUOUS[name]
            _, std = sde.transition((i - 1) / (num_scales - 1), i / (num_scales - 1))
            _, chain_std = chain.transition((i - 0.75) / (num_scales - 1), (i + 0.25) / (num_scales - 1))
            of.append(float(jnp.max(jnp.abs(std / chain_std - 1))))
    assert max(deviations["ve"]) < 3e-4  # rounding: the variance is a difference of nearly equal squares
    # Half of b/2 = beta / (2 N) = 0.036 at t = 0.9, less the shift of beta by half a level.
    assert 5e-3 < deviations["vp"][0] < 2e-2
    assert 3.5 < deviations["vp"][0] / deviations["vp"][1] < 4.5  # first order, and the terms of second order


@pytest.mark.parametrize("name", CHAINS)
def test_published_probability_flow_runs_are_those_of_the_loop(name, golden):
    """Fifty levels of the chain without noise: the loop itself, started from the given prior sample."""
    g = golden("samplers_runs")
    chain, eps = CHAINS[name](50), float(g[f"{name}_eps"])
    times = grids.levels(50, eps)
    g.check(f"{name}_pf_N50_timesteps", times[:-1])
    np.testing.assert_array_equal(chain.index(jnp.asarray(times[:-1])), np.arange(50)[::-1])
    sampler = pc(chain, UPDATES["reverse_diffusion_ode"], none(), times)
    start = jnp.asarray(g[f"{name}_z_prior"]) * chain.prior_std
    samples = jax.jit(lambda x: sampler(KEY, from_score(scores(g, name)["gauss"], chain), x.shape, start=(x, 1.0)))(
        start
    )
    g.check(f"{name}_pf_N50_x", samples.x)
    assert int(samples.num_evals) == 50


def run(g, name, moves, num_steps, z):
    """The published loop: N times from 1 to eps, every step of length 1/N, moves with given noise z [N, moves, ...]."""
    sde = published(name, num_steps)
    x = jnp.asarray(g[f"{name}_z_prior"]) * sde.prior_std
    times = jnp.asarray(grids.levels(num_steps, float(g[f"{name}_eps"]))[:-1])
    predict = gauss_predict(g, name)

    def body(x, inputs):
        t, z = inputs
        t = jnp.full(x.shape[:1], t)
        for k, (step, below) in enumerate(moves):
            sample = step(z[k], predict, sde, x, t, below(t))
            x = sample.x
        return x, sample.mean

    x, means = jax.jit(lambda x: jax.lax.scan(body, x, (times, z)))(x)
    return x, means[-1]


def one_level(num_steps):
    """One level down, slightly above it so that truncation finds it; below the first level are the data."""
    return lambda t: jnp.where(t * (num_steps - 1) < 1, -1.0, t - 1 / (num_steps - 1) + 1e-4)


def one_step(num_steps):
    return lambda t: t - 1 / num_steps


RUNS = {
    "vp_pc_N25_euler_maruyama_langevin": (25, [("langevin_n1", one_level), ("euler_maruyama", one_step)], [0, 1]),
    "subvp_pc_N10_euler_maruyama_none": (10, [("euler_maruyama", one_step)], [1]),
    "ve_pc_N10_reverse_diffusion_langevin": (
        10,
        [("langevin_n1", one_level), ("reverse_diffusion", one_level)],
        [0, 1],
    ),
}


@pytest.mark.parametrize("key", RUNS)
def test_published_predictor_corrector_runs_are_reproduced(key, golden):
    g = golden("samplers_runs")
    name = key.split("_")[0]
    num_steps, moves, noises = RUNS[key]
    moves = [(UPDATES[method], below(num_steps)) for method, below in moves]
    x, mean = run(g, name, moves, num_steps, jnp.asarray(g[f"{name}_pc_z"][:, noises]))
    g.check(f"{key}_denoise0", x)
    g.check(f"{key}_denoise1", mean)


def test_published_probability_flow_run_of_subvp_is_eulers(golden):
    g = golden("samplers_runs")
    x, _ = run(g, "subvp", [(UPDATES["euler_maruyama_ode"], one_step(50))], 50, jnp.zeros((50, 1, 2, 8, 8, 3)))
    g.check("subvp_pf_N50_x", x)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_published_solutions_of_the_ode_are_reproduced(name, golden):
    g = golden("samplers_runs")
    sde, eps, predict = CONTINUOUS[name], float(g[f"{name}_eps"]), gauss_predict(g, name)
    start = jnp.asarray(g[f"{name}_ode_z"])
    assert float(jnp.std(start)) == pytest.approx(sde.prior_std, rel=0.2)

    def velocity(t, x):
        return sde.probability_flow(predict, x, jnp.full(x.shape[:1], t))

    def by_driver(x):
        return integrate(velocity, x, 1.0, eps, rtol=1e-5, atol=1e-5, max_steps=10_000)

    # Tolerances are for one solver in two precisions; another first step changes the result within rtol = atol = 1e-5.
    scale = 3 if name == "ve" else 1
    states, num_evals = jax.jit(by_driver)(start)
    g.check(f"{name}_ode_denoise0_x", states[-1], scale)
    nfe = int(g[f"{name}_ode_nfe_f64"])
    assert abs(int(num_evals) - nfe) <= 0.35 * nfe  # the count depends on rounding
    # The sampler solves the same ODE in coordinates in which it takes fewer steps, also for another data_std.
    sampler = ProbabilityFlow(sde, eps, data_std=1.0)
    samples = jax.jit(lambda x: sampler(KEY, predict, x.shape, start=(x, 1.0)))(start)
    g.check(f"{name}_ode_denoise0_x", samples.x, scale)
    assert int(samples.num_evals) < nfe
    # The published ending: one noise-free reverse-diffusion step (for sub-VP Euler-Maruyama's) of length 1/N.
    t = jnp.full((2,), eps)
    method, below = ("reverse_diffusion", -jnp.ones(2)) if name in CHAINS else ("euler_maruyama", t - 1 / 1000)
    last = UPDATES[method](jnp.zeros_like(start), predict, published(name, 1000), samples.x, t, below)
    g.check(f"{name}_ode_denoise1_x", last.mean, scale)
