"""Projection on a measurement: published updates, an independent loop, and what is kept exactly."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.arrays import broadcast_to_rank
from core.keys import SampleKey, draw_normal, example_keys, fold_in
from corruption.predictions import from_score
from sampling import grids
from sampling.base import Sample
from sampling.inverse.operators.downsample import downsample
from sampling.inverse.operators.fourier import fourier
from sampling.inverse.operators.grayscale import grayscale
from sampling.inverse.operators.mask import mask
from sampling.inverse.projection import colorize, inpaint, project, replacement
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.langevin import annealed_langevin, langevin
from sampling.steps.none import none
from sampling.steps.reverse_diffusion import reverse_diffusion
from sde.chain import ddpm_chain, smld_chain
from sde.edm import EDM
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.chains import Published
from tests.support.oracles import correlated

SHAPE = (8, 8, 3)
KEY = jax.random.key(11)
LANGEVIN = langevin(snr=0.16)
SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "edm": EDM(), "linear": Linear()}


def published(name, num_scales, beta_max=20.0):
    """Marginals of the continuous SDE, transitions of its chain, as in the published samplers."""
    if name == "vp":
        return Published(VP(beta_max=beta_max), ddpm_chain(0.1, beta_max, num_scales))
    return Published(VE(), smld_chain(0.01, 50.0, num_scales))


def score_fn_of(g, sde):
    mu, s = jnp.asarray(g["gauss_mu"])[None], float(g["gauss_std"])

    def score_fn(x, t):
        m, std = broadcast_to_rank(sde.mean_coeff(t), x), broadcast_to_rank(sde.std(t), x)
        return -(x - m * mu) / (m**2 * s**2 + std**2)

    return score_fn


def task_of(g, task, sde):
    """What the constraint does given noise, what of a sample is known, and the noise as an image."""
    if task == "inpaint":
        operator = mask(SHAPE, g["mask"])
        return replacement(sde, operator, jnp.asarray(g["data"])), operator, lambda z: z
    operator = grayscale(SHAPE)
    return replacement(sde, operator, jnp.asarray(g["gray"])[..., :1]), operator, operator.from_basis


def moves_of(num_scales):
    """Corrector and predictor, with the time at the end of each."""
    corrector = langevin(snr=0.16, norm="batch")
    return {"corrector": corrector, "predictor": reverse_diffusion()}, lambda t: t - 1 / (num_scales - 1)


@pytest.mark.parametrize("task", ["inpaint", "colorize"])
@pytest.mark.parametrize("name", ["vp", "ve"])
def test_every_published_conditional_update_is_met(name, task, golden):
    """`x_mean` is compared with the fixed version, which keeps the posterior mean of the unknown part."""
    g = golden("controllable")
    sde, moves, below = published(name, 1000), *moves_of(1000)
    score_fn = score_fn_of(g, sde)
    predict = from_score(score_fn, sde)
    replace, _, image_of = task_of(g, task, sde)
    x, t = jnp.asarray(g[f"{name}_x"]), jnp.full((3,), float(g[f"{name}_t"]))
    z, z_known = jnp.asarray(g["z_update"]), jnp.asarray(g["z_known"])
    g.check(f"{name}_score", score_fn(x, t))

    @jax.jit
    def update():
        bare = {kind: step(z, predict, sde, x, t, below(t)) for kind, step in moves.items()}
        return bare, {kind: replace(image_of(z_known), sample, t) for kind, sample in bare.items()}

    bare, constrained = update()
    for kind, sample in constrained.items():
        g.check(f"{name}_bare_{kind}_x", bare[kind].x)
        g.check(f"{name}_bare_{kind}_x_mean", bare[kind].mean)
        g.check(f"{name}_{task}_{kind}_x", sample.x)
        g.check(f"{name}_{task}_{kind}_x_mean_fixed", sample.mean)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_the_known_part_is_noised_as_published(name, golden):
    g = golden("controllable")
    data, t = jnp.asarray(g["data"]), jnp.full((3,), float(g[f"{name}_t"]))
    replace = replacement(published(name, 1000), mask(SHAPE, jnp.ones((8, 8, 1))), data)
    sample = replace(jnp.asarray(g["z_known"]), Sample(data, data), t)
    g.check(f"{name}_known_mean", sample.mean)
    g.check(f"{name}_known_noisy", sample.x)


@pytest.mark.parametrize("task", ["inpaint", "colorize"])
@pytest.mark.parametrize("name", ["vp", "ve"])
def test_published_conditional_loops_are_met(name, task, golden):
    """With two peculiarities of the published loop: both moves are noised for the time before the predictor, and the
    last `mean` is that of the unconstrained step for the known part only.
    """
    g = golden("controllable")
    sde, moves, below = published(name, 3, float(g["vp_loop_beta_max"])), *moves_of(3)
    predict = from_score(score_fn_of(g, sde), sde)
    replace, operator, image_of = task_of(g, task, sde)
    z = jnp.asarray(g[f"{name}_{task}_loop_z"])
    prior = z[0] * sde.prior_std
    if task == "inpaint":
        x = jnp.where(operator.known, jnp.asarray(g["data"]), prior)
    else:  # the unknown part is taken in red, green and blue instead of the color basis, without its red
        bare = operator.to_basis(prior * jnp.array([0.0, 1.0, 1.0])[None, None, None])
        x = operator.from_basis(operator.estimate(jnp.asarray(g["gray"])[..., :1]) + bare)

    @jax.jit
    def run(x):
        for k, time in enumerate(np.linspace(1, 1e-5, 3, dtype=np.float32)):
            t = jnp.full((3,), time)
            lower = jnp.where(t > 0.1, below(t) + 1e-4, -1.0)  # slightly above the level, so that truncation finds it
            for i, step in enumerate(moves.values()):
                sample = step(z[1 + 4 * k + 2 * i], predict, sde, x, t, lower)
                sample = replace(image_of(z[2 + 4 * k + 2 * i]), sample, t)
                x = sample.x
        measured = operator.measured
        mean = operator.from_basis(jnp.where(measured, operator.to_basis(sample.mean), operator.to_basis(sample.x)))
        return x, mean

    x, mean = run(x)
    g.check(f"{name}_{task}_loop_N3_denoise0", x)
    g.check(f"{name}_{task}_loop_N3_denoise1", mean)


def white(sde):
    """The prediction for data N(0, I / 4)."""
    return from_score(lambda x, t: -x / broadcast_to_rank(0.25 * sde.mean_coeff(t) ** 2 + sde.std(t) ** 2, x), sde)


MEASUREMENTS = {
    "vp": mask((4, 4, 3), np.random.default_rng(0).random((2, 4, 4, 1)) < 0.5),
    "ve": grayscale((4, 4, 3)),
    "subvp": downsample((4, 4, 3), 2),
    "edm": fourier((4, 4, 3), np.eye(4)[..., None]),
    "linear": downsample((4, 4, 3), 4),
}


@pytest.mark.parametrize("name", SDES)
def test_the_measurement_is_kept(name):
    """A different measurement for each SDE; the projection uses only its basis."""
    sde, operator = SDES[name], MEASUREMENTS[name]
    image = jnp.asarray(np.random.default_rng(1).random((2, 4, 4, 3)), jnp.float32)
    y = operator.measure(image)
    shortcuts = {"vp": lambda: inpaint(sde, image, operator.known), "ve": lambda: colorize(sde, y)}
    constrain = shortcuts.get(name, lambda: project(sde, operator, y))()
    sampler = pc(sde, ancestral(), none(), grids.uniform(5, 1e-3))
    x = jax.jit(lambda: sampler(KEY, white(sde), image.shape, constrain=constrain).x)()
    np.testing.assert_allclose(operator.measure(x), y, atol=1e-6 if name in ("vp", "ve") else 1e-5)
    if name == "vp":
        np.testing.assert_array_equal(np.where(operator.known, x, 0), np.where(operator.known, image, 0))
    assert np.isfinite(x).all() and np.abs(x - image).max() > 0.1


def test_the_loop_equals_one_written_out_by_hand():
    """Inpainting with two Langevin steps: every formula and every key, in plain Python."""
    sde, rng = VP(), np.random.default_rng(1)
    image, known = jnp.asarray(rng.random((2, 4, 4, 3)), jnp.float32), jnp.asarray(rng.random((4, 4, 1)) < 0.5)
    times = grids.uniform(4, 1e-3)
    sampler = pc(sde, reverse_diffusion(), LANGEVIN, times, num_corrector_steps=2)
    found = jax.jit(lambda: sampler(KEY, white(sde), image.shape, constrain=inpaint(sde, image, known)).x)()

    keys = example_keys(KEY, 2)

    def noise(*address):
        return draw_normal(functools.reduce(fold_in, address, keys), image.shape)

    def law(t):
        return float(sde.mean_coeff(jnp.float32(t))), float(sde.std(jnp.float32(t)))

    def filled(x, t, z):
        m, std = law(t)
        return jnp.where(known[None], m * image + std * z, x)

    x = sde.prior_std * noise(SampleKey.PRIOR)
    for k, (t, t_next) in enumerate(itertools.pairwise(times)):
        (m, std), (m_next, std_next) = law(t), law(t_next)
        for i in range(2):
            z, score = noise(SampleKey.STEPS, k, 1 + i, 0), -x / (0.25 * m**2 + std**2)
            norms = [np.linalg.norm(np.asarray(a).reshape(2, -1), axis=1) for a in (z, score)]
            size = jnp.asarray(2 * (m / m_next * 0.16 * norms[0] / norms[1]) ** 2).reshape(2, 1, 1, 1)
            x = filled(x + size * score + jnp.sqrt(2 * size) * z, t, noise(SampleKey.STEPS, k, 1 + i, 1))
        variance = std**2 - (m / m_next * std_next) ** 2
        score = -x / (0.25 * m**2 + std**2)
        x = x - (m / m_next - 1) * x + variance * score + np.sqrt(variance) * noise(SampleKey.STEPS, k, 0, 0)
        x = filled(x, t_next, noise(SampleKey.STEPS, k, 0, 1))
    m, std = law(times[-1])
    x0 = (x - std**2 * x / (0.25 * m**2 + std**2)) / m
    # Ten units in the last place of float32 after four steps of numbers near one.
    np.testing.assert_allclose(found, jnp.where(known[None], image, x0), rtol=1e-6, atol=1e-6)


def test_a_noisy_measurement_gets_only_the_missing_noise():
    """Over measurement noise and fresh noise, a replaced coordinate is mean_coeff c + std z: as wide as without."""
    sde, t, num, noise_std = VP(), 0.3, 10_000, 0.2
    operator, rng = downsample((2, 2, 1), 2), np.random.default_rng(2)
    z, z_noise = (jnp.asarray(rng.normal(size=(num, 2, 2, 1)), jnp.float32) for _ in range(2))
    x0 = jnp.full((num, 2, 2, 1), 0.7)
    y = operator.observe(z_noise, x0, noise_std)
    replace = replacement(sde, operator, y, noise_std)
    sample = replace(z, Sample(x0, x0), jnp.full((num,), t))
    c = np.asarray(operator.to_basis(sample.x), np.float64).reshape(num, 4)
    m, std = float(sde.mean_coeff(jnp.float32(t))), float(sde.std(jnp.float32(t)))
    assert m * noise_std * 2 < std  # y / s is noisier than y: s = 1 / 2
    assert c[:, 0].mean() == pytest.approx(m * 1.4, abs=5 * std / np.sqrt(num))
    assert c[:, 0].std() == pytest.approx(std, rel=5 / np.sqrt(2 * num))  # five standard errors
    np.testing.assert_allclose(c[:, 1:], 0.0, atol=1e-6)  # unmeasured coordinates stay: zero for a constant block
    late = replace(z, Sample(x0, x0), jnp.full((num,), 0.01))
    np.testing.assert_allclose(late.x, x0, atol=1e-6)  # less noisy than the measurement, which no longer matters


def test_more_corrector_steps_bring_the_unknown_part_closer_to_its_expectation():
    """Two of four correlated entries: the mean error of 4000 samples, with a standard error of 0.01."""
    data, known = correlated(4, shift=0.5), np.array([1, 1, 0, 0])
    x0 = jnp.asarray([[1.5, -1.0, 0.0, 0.0]])
    observed = known.astype(bool)
    gain = data.cov[np.ix_(~observed, observed)] @ np.linalg.inv(data.cov[np.ix_(observed, observed)])
    expected = data.mean[~observed] + gain @ (np.asarray(x0)[0, observed] - data.mean[observed])
    errors = []
    for num in [0, 4]:
        corrector = annealed_langevin(snr=0.3) if num else none()
        sampler = pc(VE(), ancestral(), corrector, grids.uniform(60, 1e-5), num_corrector_steps=num)
        constrain = project(VE(), mask((4,), known), x0)
        x = jax.jit(lambda s=sampler, c=constrain: s(KEY, data.predict(VE()), (4000, 4), constrain=c).x)()
        errors.append(np.abs(np.asarray(x).mean(axis=0)[~observed] - expected).max())
    assert errors[1] < 0.5 * errors[0]


def test_measurements_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        inpaint(VP(), jnp.ones((2, *SHAPE)), jnp.ones((8, 7, 1)))
    with pytest.raises(ValueError, match="measurement has shape"):
        colorize(VP(), jnp.ones((2, *SHAPE)))
