"""The predictor-corrector loop: its distribution, keys, hooks and counts."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.arrays import broadcast_to_rank
from corruption.predictions import from_score
from sampling import grids
from sampling.base import Sample, with_noise
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.euler_maruyama import euler_maruyama
from sampling.steps.langevin import annealed_langevin, langevin
from sampling.steps.none import none
from sampling.steps.reverse_diffusion import reverse_diffusion
from sde.chain import ddpm_chain
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import correlated, propagate
from tests.support.tracing import CountingJit

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
DATA = correlated(4, shift=0.5)
KEY = jax.random.key(7)
LANGEVIN, ALD, NONE = langevin(snr=0.16), annealed_langevin(snr=0.16), none()
SUBJECTS = {
    "vp": (VP(), ancestral(variance="transition"), grids.uniform(30, 1e-3)),
    "subvp": (SubVP(), euler_maruyama(), grids.uniform(30, 1e-3)),
    "ve": (VE(), reverse_diffusion(), grids.uniform(30, 1e-5)),
    "ddpm": (ddpm_chain(0.1, 20.0, 30), ancestral(variance="transition"), grids.levels(30)),
}
each = pytest.mark.parametrize("name", SUBJECTS)


def sampler_of(name, corrector=LANGEVIN, **options):
    sde, predictor, times = SUBJECTS[name]
    return pc(sde, predictor, corrector, times, **options)


@each
def test_samples_have_the_moments_that_the_steps_imply(name):
    """Two annealed Langevin steps and a predictor: all affine, so the moments are known without sampling."""
    sde, predictor, times = SUBJECTS[name]
    num, predict = 20_000, DATA.predict(sde)
    prior = jnp.zeros(4), sde.prior_std**2 * jnp.eye(4)
    mean, cov = jax.jit(lambda: propagate([ALD, ALD, predictor], predict, sde, prior, times))()
    sampler = sampler_of(name, ALD, num_corrector_steps=2, denoise=False)
    x = np.asarray(jax.jit(lambda key: sampler(key, predict, (num, 4)).x)(KEY), np.float64)
    # Standard errors of a mean and of a covariance of normal variables; 14 numbers, so five of them.
    spread = np.diag(cov)
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * np.sqrt(spread / num))
    bound = 5 * np.sqrt((np.outer(spread, spread) + cov**2) / num)
    np.testing.assert_array_less(np.abs(np.cov(x.T) - cov), bound)
    assert np.all(np.abs(mean - DATA.mean) < 0.15)  # and close to the data after only thirty steps
    assert np.all(np.abs(cov - DATA.cov) < 0.3)


@pytest.mark.parametrize("name", ["subvp", "ddpm"])
def test_a_sample_depends_on_its_own_key_only(name):
    predict = DATA.predict(SUBJECTS[name][0])
    draw = jax.jit(lambda key, num: sampler_of(name)(key, predict, (num, 2, 2, 1)).x, static_argnums=1)
    whole = draw(KEY, 8)
    for num in [1, 3]:
        np.testing.assert_allclose(draw(KEY, num), whole[:num], rtol=1e-5, atol=1e-5)  # another order of summation
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(5, 8))
    np.testing.assert_allclose(draw(keys, 3), whole[5:], rtol=1e-5, atol=1e-5)


def counter():
    """A prediction that records its actual calls, and the list of their times."""
    calls = []

    def predict(x, t):
        jax.debug.callback(lambda t: calls.append(float(t)), t[0])
        return from_score(lambda x, t: -x / broadcast_to_rank(1 + t, x), VP())(x, t)

    return predict, calls


@pytest.mark.parametrize("denoise", [True, False])
@pytest.mark.parametrize("corrector", [LANGEVIN, NONE], ids=["langevin", "none"])
@pytest.mark.parametrize("name", ["vp", "ddpm"])
def test_evaluations_are_counted(name, corrector, denoise):
    predict, calls = counter()
    sampler = sampler_of(name, corrector, num_corrector_steps=2, denoise=denoise)
    samples = jax.jit(lambda key: sampler(key, predict, (2, 4)))(KEY)
    jax.block_until_ready(samples)
    jax.effects_barrier()
    assert int(samples.num_evals) == len(calls)
    assert samples.num_evals.dtype == jnp.int32
    assert min(calls) >= 0  # never called at the data


def test_another_key_and_another_prediction_do_not_recompile():
    sampler = sampler_of("ve")
    draw = CountingJit(lambda key, scale: sampler(key, from_score(lambda x, t: -scale * x, VE()), (2, 4)))
    first, second = draw(KEY, 0.5).x, draw(jax.random.key(1), 0.6).x
    assert draw.num_traces == 1
    assert np.all(np.abs(first - second) > 0)


@pytest.mark.parametrize("name", ["vp", "ddpm"])
def test_a_constraint_receives_the_time_of_the_sample(name):
    times, sampler = SUBJECTS[name][2], sampler_of(name)
    seen = []

    def constrain(z, sample, t):
        jax.debug.callback(lambda t, z: seen.append((t.copy(), z.copy())), t, z, ordered=True)
        return sample

    jax.jit(lambda: sampler(KEY, DATA.predict(sampler.process.sde), (2, 4), constrain=with_noise(constrain)))()
    jax.effects_barrier()
    expected = [time for pair in itertools.pairwise(times) for time in pair]
    if times[-1] >= 0:
        expected.append(0.0)  # the denoised sample is data
    np.testing.assert_array_equal([t for t, _ in seen], np.float32([[t, t] for t in expected]))
    noise = np.stack([z for _, z in seen])
    assert len(np.unique(noise)) == noise.size  # fresh noise every time


@each
def test_known_values_arrive_exactly(name):
    """Known dimensions are replaced by noisy data at the same time in every step, and by the data at the end."""
    sampler = sampler_of(name)
    sde, known = sampler.process.sde, jnp.array([True, False, True, False])[None]
    data = jnp.array([[0.3, 9.0, -0.7, 9.0], [0.1, 9.0, 0.9, 9.0]])

    def constrain(z, sample, t):
        mean = broadcast_to_rank(sde.mean_coeff(t), data) * data
        noisy = mean + broadcast_to_rank(sde.std(t), data) * z
        return Sample(jnp.where(known, noisy, sample.x), jnp.where(known, mean, sample.mean))

    x = jax.jit(lambda: sampler(KEY, DATA.predict(sde), (2, 4), constrain=with_noise(constrain)).x)()
    np.testing.assert_array_equal(x[:, ::2], data[:, ::2])
    assert np.all(np.abs(x[:, 1::2]) < 5)


def test_a_start_continues_a_run():
    """Without noise, two halves of a run give the same as the whole run; evaluations add up."""
    times = grids.uniform(20, 1e-3)
    sde, step = VP(), reverse_diffusion(probability_flow=True)
    predict = DATA.predict(sde)
    whole = pc(sde, step, NONE, times)
    half = pc(sde, step, NONE, times[:11], denoise=False)
    one, middle = whole(KEY, predict, (3, 4)), half(KEY, predict, (3, 4))
    for t in [times[10], 0.5 * (times[9] + times[10])]:  # on the grid, and between its times
        rest = whole(jax.random.key(1), predict, (3, 4), start=(middle.x, t))
        on_grid = t == times[10]
        assert int(rest.num_evals) == (11 if on_grid else 12)
        # On the grid the steps are the same; in between, a step of 1/20 is taken in two halves.
        np.testing.assert_allclose(rest.x, one.x, atol=1e-6 if on_grid else 0.3)


def test_a_run_of_a_chain_ends_at_its_data():
    """The last step is to level -1: `denoise` gives its mean, without another evaluation."""
    name = "ddpm"
    predict = DATA.predict(SUBJECTS[name][0])
    denoised, noisy = (sampler_of(name, NONE, denoise=d)(KEY, predict, (500, 4)) for d in (True, False))
    assert int(denoised.num_evals) == int(noisy.num_evals) == 30
    std = float(SUBJECTS[name][0].std(jnp.asarray(0.0)))
    # The noise left out is that of one transition, sqrt(beta_0) with "transition": 4 standard errors of 2000 values.
    assert float(jnp.std(noisy.x - denoised.x)) == pytest.approx(std, rel=4 / np.sqrt(4000))


def test_the_grid_of_a_chain_has_its_exact_levels():
    for num_scales in [2, 10, 232, 1000, 2000]:
        for eps in [0.0, 1e-5, 0.99 / num_scales]:
            times = grids.levels(num_scales, eps)
            chain = ddpm_chain(0.1, 1.0, num_scales)
            expected = [*range(num_scales)[::-1], -1]
            np.testing.assert_array_equal(chain.index(jnp.asarray(times)), expected)
            np.testing.assert_allclose(times[:-1], np.linspace(1, eps, num_scales), atol=3e-7)  # a few ulp


def test_invalid_grids_and_starts_are_refused():
    sde, step = VP(), reverse_diffusion()
    for times, message in [
        ((1.0,), "at least two"),
        ((1.0, 0.5, 0.5), "each below"),
        ((1.0, 0.5, -1.0), "those of the SDE"),
    ]:
        with pytest.raises(ValueError, match=message):
            pc(sde, step, NONE, times)
    with pytest.raises(ValueError, match="those of the SDE"):
        pc(ddpm_chain(0.1, 20.0, 30), step, NONE, grids.uniform(30, 1e-3))
    with pytest.raises(ValueError, match="negative"):
        pc(sde, step, NONE, (1.0, 0.5), num_corrector_steps=-1)
    sampler, predict = pc(sde, step, NONE, (1.0, 0.5)), DATA.predict(sde)
    with pytest.raises(ValueError, match="already ended"):
        sampler(KEY, predict, (2, 4), start=(jnp.ones((2, 4)), 0.5))
    with pytest.raises(ValueError, match="shape"):
        sampler(KEY, predict, (2, 4), start=(jnp.ones((3, 4)), 1.0))
    with pytest.raises(ValueError, match="one per example"):
        sampler(jax.random.split(KEY, 3), predict, (2, 4))
    with pytest.raises(ValueError, match="num_steps"):
        grids.uniform(0, 1e-3)
    with pytest.raises(ValueError, match="num_scales"):
        grids.levels(1000, 0.01)
