"""Losses and the times at which they are evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from models import parameterizations
from sde import times
from sde.chain import ddpm_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.linear import make_linear_loss
from training.objectives.score_matching import denoising_score_matching, edm, independent, stratified


def test_ddpm_loss_is_variance_weighted_score_matching_on_the_chain(golden):
    """With the stored network output in place of a network: |out - z|^2."""
    g = golden("losses")
    chain = ddpm_chain(0.1, 20.0, 1000)
    x0, z, out = (jnp.asarray(g[f"ddpm_{key}"]) for key in ("x0", "z", "model_output"))
    t = chain.time(jnp.asarray(g["ddpm_labels"]))
    g.check("ddpm_perturbed", chain.perturb(x0, t, z))
    for reduction in (0, 1):
        given = denoising_score_matching(
            lambda x, t: parameterizations.noise(chain, x, t, out),
            chain, x0, t, z, reduce_mean=bool(reduction),
        )  # fmt: skip
        g.check(f"ddpm_rm{reduction}_per_example", given)


def test_loss_of_an_example_depends_on_its_key_alone():
    loss, x = make_linear_loss(), jax.random.normal(jax.random.key(0), (6, 4))
    keys = example_keys(jax.random.key(1), 6)

    def losses(keys, x):
        return loss({"params": {"a": 1.0}}, keys, {"x": x}, None, jnp.int32(0)).losses["score_matching"]

    np.testing.assert_allclose(losses(keys[2:5], x[2:5]), losses(keys, x)[2:5], rtol=1e-6)  # rounding


def test_levels_are_sampled_evenly_and_named_exactly():
    chain = ddpm_chain(0.1, 20.0, 100)
    t, _ = independent(times.levels(chain))(example_keys(jax.random.key(0), 20_000))
    counts = np.bincount(chain.index(t), minlength=100)
    assert counts.min() > 0 and counts.sum() == 20_000
    # Chi-squared with 99 degrees of freedom: mean 99, deviation sqrt(198) = 14.
    assert abs(np.sum((counts - 200) ** 2 / 200) - 99) < 5 * 14
    levels = jnp.arange(1000)
    np.testing.assert_array_equal(ddpm_chain(0.1, 20.0, 1000).index(ddpm_chain(0.1, 20.0, 1000).time(levels)), levels)


@pytest.mark.parametrize(
    "sde", [VP(), SubVP(), VE(), EDM(), Cosine(), Linear()], ids=["vp", "subvp", "ve", "edm", "cosine", "linear"]
)
def test_times_uniform_in_log_snr_make_the_likelihood_weighting_constant_and_stay_unbiased(sde):
    keys = example_keys(jax.random.key(0), 4096)
    t, weight = independent(times.log_snr(sde, 1e-3))(keys)
    assert float(t.min()) >= 1e-3 * (1 - 1e-5) and float(t.max()) <= 1.0
    # The loss per unit of || noise - z ||^2: the same at every time, up to the interpolation of the table.
    constant = weight * (sde.diffusion(t) / sde.std(t)) ** 2
    np.testing.assert_allclose(constant, constant[0], rtol=1e-4)
    # Expectations are those of uniform times: of 1, and of t.
    for values, exact in ((weight, 1.0), (weight * t, (1 + 1e-3) / 2)):
        assert abs(float(values.mean()) - exact) < 5 * float(values.std()) / 64


def test_log_normal_times_have_the_noise_levels_of_edm():
    t, weight = independent(times.log_normal(EDM(), 1e-5))(example_keys(jax.random.key(0), 4096))
    log_sigma = np.log(EDM().std(t))
    # 4,096 normal numbers: 1.2 / 64 for the mean, 1.2 / 90 for the deviation, four times that.
    assert abs(log_sigma.mean() + 1.2) < 0.08 and abs(log_sigma.std() - 1.2) < 0.06
    np.testing.assert_array_equal(weight, 1.0)


def test_stratified_times_cover_every_stratum_once_and_estimate_with_less_variance():
    keys = [example_keys(jax.random.key(i), 32) for i in range(50)]
    spread = {}
    for name, sample_times in (("independent", independent), ("stratified", stratified)):
        t = np.stack([sample_times(times.uniform(0.0))(k)[0] for k in keys])
        spread[name] = np.var((t**2).mean(axis=1))
        if name == "stratified":
            np.testing.assert_array_equal(np.sort((t * 32).astype(int), axis=1), np.tile(np.arange(32), (50, 1)))
    # 1 / (12 B^2) against (4 / 45) / B: 0.029 for B = 32, known to about 30 % from 50 batches.
    assert spread["stratified"] < 0.06 * spread["independent"]


def test_the_weighting_of_edm_is_its_loss_on_the_denoised_image():
    """lambda(sigma) |D - x0|^2 with lambda = (sigma^2 + s^2) / (sigma s)^2, written out."""
    sde, sd = EDM(), 0.5
    t = jnp.array([0.001, 0.01, 0.5])
    x0, z, D = jax.random.normal(jax.random.key(0), (3, 3, 8))
    sigma = sde.std(t)
    given = denoising_score_matching(
        lambda x, t: parameterizations.data(sde, x, t, D), sde, x0, t, z, weighting=edm(sd), reduce_mean=True
    )
    expected = (sigma**2 + sd**2) / (sigma * sd) ** 2 * jnp.mean((D - x0) ** 2, axis=1)
    np.testing.assert_allclose(given, expected, rtol=1e-4)
