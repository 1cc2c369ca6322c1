"""Losses, optimizer and training step: the published numbers, and laws of our own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from core.keys import example_keys
from models import parameterizations
from models.networks.ncsnpp import NCSNpp
from sde import times
from sde.chain import ddpm_chain, smld_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from training.ema import EMA
from training.objectives.score_matching import (
    denoising_score_matching,
    edm,
    independent,
    likelihood,
    make_loss_fn,
    make_per_example_loss,
    stratified,
    variance,
)
from training.optim import adam, learning_rate
from training.state import initial_state
from training.step import fuse, make_train_step

FIELDS = NCSNpp.__dataclass_fields__.keys()


def network_of(golden, name, sigmas=None):
    """The network of a golden model file, and its parameters."""
    file = golden(name)
    config = file.index["config"]
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in config["model"].items() if k in FIELDS - {"name"}}
    module = NCSNpp(**settings, num_channels=3, centered=config["data"]["centered"], sigmas=sigmas)
    return module, file.params()


CASES = {
    "ve": ("model_ncsnpp_ve_cont", VE(), parameterizations.noise_level, parameterizations.SCORE),
    "vp": ("model_ddpmpp_vp_cont", VP(), parameterizations.scaled_time(999), parameterizations.NOISE),
    "subvp": ("model_ddpmpp_subvp_cont", SubVP(), parameterizations.scaled_time(999), parameterizations.NOISE),
}


@pytest.mark.parametrize("name", CASES)
def test_continuous_losses_and_gradients_equal_the_published_numbers(name, golden):
    """Both weightings and both reductions; one backward pass serves all, as they differ in d loss / d score only."""
    g = golden("losses")
    model, sde, time, output = CASES[name]
    module, params = network_of(golden, model)
    x0, z, t = (jnp.asarray(g[f"{name}_{key}"]) for key in ("x0", "z", "t"))
    g.check(f"{name}_perturbed", sde.perturb(x0, t, z))

    def at(params):
        score_fn = parameterizations.make_score_fn(
            lambda x, s, cond: module.apply({"params": params}, x, s, cond), sde, time, output
        )
        return score_fn(sde.perturb(x0, t, z), t)

    given = jax.jit(at)(params)
    g.check(f"{name}_score", given)
    gradient = jax.jit(lambda params, cotangent: optax.tree.norm(jax.vjp(at, params)[1](cotangent)))
    for weighting in (0, 1):
        for reduction in (0, 1):
            key = f"{name}_lw{weighting}_rm{reduction}"

            def loss(s, weighting=weighting, reduction=reduction):
                return denoising_score_matching(
                    lambda x, t: s,
                    sde,
                    x0,
                    t,
                    z,
                    weighting=likelihood if weighting else variance,
                    reduce_mean=bool(reduction),
                )

            g.check(f"{key}_per_example", loss(given))
            g.check(f"{key}_loss", loss(given).mean())
            g.check(f"{key}_grad_norm", gradient(params, jax.grad(lambda s, loss=loss: loss(s).mean())(given)))


def test_smld_loss_is_variance_weighted_score_matching_on_the_ladder(golden):
    g, model = golden("losses"), golden("model_ncsnpp_ve_discrete").index["config"]["model"]
    chain = smld_chain(model["sigma_min"], model["sigma_max"], model["num_scales"])
    module, params = network_of(golden, "model_ncsnpp_ve_discrete", sigmas=tuple(reversed(chain.stds)))
    x0, z, labels = (jnp.asarray(g[f"smld_{key}"]) for key in ("x0", "z", "labels"))
    t = chain.time(chain.num_scales - 1 - labels)
    np.testing.assert_array_equal(parameterizations.descending_level(chain, t), labels)
    g.check("smld_sigmas", chain.std(t))
    g.check("smld_perturbed", chain.perturb(x0, t, z))
    fn = parameterizations.make_score_fn(
        lambda x, s, cond: module.apply({"params": params}, x, s, cond),
        chain,
        parameterizations.descending_level,
        parameterizations.SCORE,
    )
    for reduction in (0, 1):
        given = denoising_score_matching(fn, chain, x0, t, z, reduce_mean=bool(reduction))
        g.check(f"smld_rm{reduction}_per_example", given)
        g.check(f"smld_rm{reduction}_loss", given.mean())


def test_ddpm_loss_is_variance_weighted_score_matching_on_the_chain(golden):
    """With the stored network output in place of a network: |out - z|^2 is |std score + z|^2."""
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


def test_four_training_steps_equal_the_published_ones(golden):
    """Warm-up from zero, clipping, Adam, average: loss, gradient norm, parameters and moments after each step."""
    g = golden("train_steps")
    module, params = network_of(golden, "model_ncsnpp_ve_cont")
    sde = VE()
    params = jax.tree.map(jnp.asarray, params)

    def loss_fn(params, key, batch):
        fn = parameterizations.make_score_fn(
            lambda x, s, cond: module.apply({"params": params}, x, s, cond),
            sde,
            parameterizations.noise_level,
            parameterizations.SCORE,
        )
        loss = denoising_score_matching(fn, sde, batch["x0"], batch["t"], batch["z"], reduce_mean=False).mean()
        return loss, {"loss": loss}

    def setting(name):  # stored in float32, where 1 - 0.999 would be off by 1.3e-5
        return float(f"{g[name]:.7g}")

    schedule = learning_rate(setting("lr"), warmup=int(g["warmup"]))
    tx = adam(
        schedule,
        beta1=setting("beta1"),
        beta2=setting("beta2"),
        eps=setting("eps"),
        grad_clip=setting("grad_clip"),
    )
    step = jax.jit(make_train_step(loss_fn, tx, EMA(setting("ema_rate")), schedule, jax.random.key(0)))
    state = initial_state(params, tx)
    losses, norms, sizes, averages = [], [], [], []
    for i in range(4):
        state, metrics = step(state, {key: jnp.asarray(g[key][i]) for key in ("x0", "t", "z")})
        losses.append(metrics["loss"])
        norms.append(metrics["grad_norm"])
        sizes.append(optax.tree.norm(state.params))
        averages.append(optax.tree.norm(state.ema_params))
    g.check("loss", losses)
    g.check("grad_norm", norms)
    g.check("params_norm", sizes)
    g.check("params_ema_norm", averages)
    moments = state.opt_state[1]
    trees = {"params": state.params, "params_ema": state.ema_params, "adam_m": moments.mu, "adam_v": moments.nu}
    checked = 0
    for key in g.index["keys"]:
        if key.startswith("after/"):
            _, tree, *path = key.split("/")
            leaf = trees[tree]
            for part in path:
                leaf = leaf[part]
            g.check(key, np.reshape(leaf, g[key].shape))
            checked += 1
    assert checked >= 8
    assert step._cache_size() == 1


def linear_score_of(params, batch, dropout_key):
    return lambda x, t: -params["a"] * x


def make_linear_loss(sde=VP()):  # noqa: B008  frozen
    return make_per_example_loss(
        linear_score_of, sde, lambda keys, batch: batch["x"], independent(times.uniform(1e-3)),
        reduce_mean=True,
    )  # fmt: skip


def test_loss_of_an_example_depends_on_its_key_alone():
    loss, x = make_linear_loss(), jax.random.normal(jax.random.key(0), (6, 4))
    keys = example_keys(jax.random.key(1), 6)
    whole = loss({"a": 1.0}, keys, {"x": x}, None)
    np.testing.assert_allclose(loss({"a": 1.0}, keys[2:5], {"x": x[2:5]}, None), whole[2:5], rtol=1e-6)  # rounding


def test_levels_are_drawn_evenly_and_named_exactly():
    chain = ddpm_chain(0.1, 20.0, 100)
    t, _ = independent(times.levels(chain))(example_keys(jax.random.key(0), 20_000))
    counts = np.bincount(chain.index(t), minlength=100)
    assert counts.min() > 0 and counts.sum() == 20_000
    # Chi-squared with 99 degrees of freedom: mean 99, deviation sqrt(198) = 14.
    assert abs(np.sum((counts - 200) ** 2 / 200) - 99) < 5 * 14
    levels = jnp.arange(1000)
    np.testing.assert_array_equal(ddpm_chain(0.1, 20.0, 1000).index(ddpm_chain(0.1, 20.0, 1000).time(levels)), levels)


def test_score_matching_finds_the_exact_score():
    """On N(0, 1) data under VP every marginal is N(0, 1), so the best linear score is -x."""
    loss_fn = make_loss_fn(make_linear_loss())
    schedule = learning_rate(0.05)
    tx = adam(schedule)
    step = jax.jit(make_train_step(loss_fn, tx, EMA(0.98), schedule, jax.random.key(0)))
    state = initial_state({"a": jnp.asarray(0.0)}, tx)
    for i in range(400):
        state, _ = step(state, {"x": jax.random.normal(jax.random.key(100 + i), (256, 4))})
    # The average over the last 50 steps of 256 x 4 numbers: a few per cent of noise.
    assert abs(float(state.ema_params["a"]) - 1.0) < 0.03


def test_fused_steps_equal_single_ones():
    loss_fn, schedule = make_loss_fn(make_linear_loss()), learning_rate(0.01, warmup=2)
    tx = adam(schedule, grad_clip=1.0, weight_decay=0.1)
    step = make_train_step(loss_fn, tx, EMA(0.9, warmup=True), schedule, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 8, 3))
    single = state = initial_state({"a": jnp.asarray(0.3)}, tx)
    for i in range(4):
        single, last = jax.jit(step)(single, {"x": x[i]})
    several, metrics = jax.jit(fuse(step))(state, {"x": x})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), single, several)
    assert metrics["loss"].shape == (4,) and float(metrics["loss"][-1]) == pytest.approx(float(last["loss"]), rel=1e-6)


def test_state_is_donated():
    loss_fn, schedule = make_loss_fn(make_linear_loss()), learning_rate(0.01)
    tx = adam(schedule)
    step = make_train_step(loss_fn, tx, EMA(0.9), schedule, jax.random.key(0))
    state = initial_state({"a": jnp.ones((1, 4))}, tx)
    compiled = jax.jit(step, donate_argnums=0).lower(state, {"x": jnp.ones((8, 4))}).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert compiled.memory_analysis().alias_size_in_bytes == size


def test_learning_rate_warms_up_from_zero_and_decays_to_zero():
    rate = learning_rate(0.1, warmup=10, decay_steps=100)
    np.testing.assert_allclose([rate(0), rate(100), rate(200)], 0, atol=1e-8)
    assert float(rate(5)) == pytest.approx(0.05 * 0.5 * (1 + np.cos(np.pi * 0.05)), rel=1e-5)
    assert float(learning_rate(0.1)(0)) == pytest.approx(0.1)


def test_ema_warm_up_starts_at_two_elevenths():
    given = EMA(0.999, warmup=True).update({"a": jnp.asarray(0.0)}, {"a": jnp.asarray(1.0)}, jnp.asarray(1))
    assert float(given["a"]) == pytest.approx(1 - 2 / 11, rel=1e-6)


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE(), EDM(), Cosine()], ids=["vp", "subvp", "ve", "edm", "cosine"])
def test_times_uniform_in_log_snr_make_the_likelihood_weighting_constant_and_stay_unbiased(sde):
    keys = example_keys(jax.random.key(0), 4096)
    t, weight = independent(times.log_snr(sde, 1e-3))(keys)
    assert float(t.min()) >= 1e-3 * (1 - 1e-5) and float(t.max()) <= 1.0
    # The loss per unit of || std score + z ||^2: the same at every time, up to the interpolation of the table.
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
    for name, draw in (("independent", independent), ("stratified", stratified)):
        t = np.stack([draw(times.uniform(0.0))(k)[0] for k in keys])
        spread[name] = np.var((t**2).mean(axis=1))
        if name == "stratified":
            np.testing.assert_array_equal(np.sort((t * 32).astype(int), axis=1), np.tile(np.arange(32), (50, 1)))
    # 1 / (12 B^2) against (4 / 45) / B: 0.029 for B = 32, known to some 30 per cent from 50 draws.
    assert spread["stratified"] < 0.06 * spread["independent"]


def test_the_weighting_of_edm_is_its_loss_on_the_denoised_image():
    """lambda(sigma) |D - x0|^2 with lambda = (sigma^2 + s^2) / (sigma s)^2, written out."""
    sde, sd = EDM(), 0.5
    t = jnp.array([0.001, 0.01, 0.5])
    x0, z, D = jax.random.normal(jax.random.key(0), (3, 3, 8))
    sigma = sde.std(t)
    given = denoising_score_matching(
        lambda x, t: (D - x) / sigma[:, None] ** 2, sde, x0, t, z, weighting=edm(sd), reduce_mean=True
    )
    expected = (sigma**2 + sd**2) / (sigma * sd) ** 2 * jnp.mean((D - x0) ** 2, axis=1)
    np.testing.assert_allclose(given, expected, rtol=1e-4)  # std score + z cancels at sigma = 40
