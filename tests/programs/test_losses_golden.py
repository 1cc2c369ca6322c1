"""The golden losses, gradients and training steps of whole U-Nets."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from corruption.predictions import score_of
from models import parameterizations
from models.networks.ncsnpp import NCSNpp
from sde.chain import smld_chain
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.networks import fields_of
from tests.support.tracing import CountingJit
from training.ema import EMA
from training.objectives.score_matching import denoising_score_matching, likelihood, variance
from training.optim import adam, learning_rate
from training.state import initial_state
from training.step import make_train_step


def network_of(golden, name, sigmas=None):
    """The network of a golden model file, and its parameters."""
    file = golden(name)
    config = file.index["config"]
    module = NCSNpp(
        **fields_of(NCSNpp, config["model"]), num_channels=3, centered=config["data"]["centered"], sigmas=sigmas
    )
    return module, file.params()


CASES = {
    "ve": ("model_ncsnpp_ve_cont", VE(), parameterizations.noise_level, parameterizations.SCORE),
    "vp": ("model_ddpmpp_vp_cont", VP(), parameterizations.scaled_time(999), parameterizations.NOISE),
    "subvp": ("model_ddpmpp_subvp_cont", SubVP(), parameterizations.scaled_time(999), parameterizations.NOISE),
}


@pytest.mark.parametrize("name", CASES)
def test_continuous_losses_and_gradients_equal_the_published_numbers(name, golden):
    """Both weightings and both reductions; one backward pass serves all, as only d loss / d prediction differs."""
    g = golden("losses")
    model, sde, time, output = CASES[name]
    module, params = network_of(golden, model)
    x0, z, t = (jnp.asarray(g[f"{name}_{key}"]) for key in ("x0", "z", "t"))
    g.check(f"{name}_perturbed", sde.perturb(x0, t, z))

    def at(params):
        predict = parameterizations.make_predict(
            lambda x, s, cond: module.apply({"params": params}, x, s, cond), sde, time, output
        )
        return predict(sde.perturb(x0, t, z), t)

    given = jax.jit(at)(params)
    g.check(f"{name}_score", score_of(given, sde, t))
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
    fn = parameterizations.make_predict(
        lambda x, s, cond: module.apply({"params": params}, x, s, cond),
        chain,
        parameterizations.descending_level,
        parameterizations.SCORE,
    )
    for reduction in (0, 1):
        given = denoising_score_matching(fn, chain, x0, t, z, reduce_mean=bool(reduction))
        g.check(f"smld_rm{reduction}_per_example", given)
        g.check(f"smld_rm{reduction}_loss", given.mean())


def test_four_training_steps_equal_the_published_ones(golden):
    """Warm-up from zero, clipping, Adam, average: loss, gradient norm, parameters and moments after each step."""
    g = golden("train_steps")
    module, params = network_of(golden, "model_ncsnpp_ve_cont")
    sde = VE()
    params = jax.tree.map(jnp.asarray, params)

    def loss_fn(variables, key, batch, step):
        fn = parameterizations.make_predict(
            lambda x, s, cond: module.apply(variables, x, s, cond),
            sde,
            parameterizations.noise_level,
            parameterizations.SCORE,
        )
        loss = denoising_score_matching(fn, sde, batch["x0"], batch["t"], batch["z"], reduce_mean=False).mean()
        return loss, ({"loss": loss}, {})

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
    step = CountingJit(make_train_step(loss_fn, tx, EMA(setting("ema_rate")), schedule, jax.random.key(0)))
    state = initial_state({"params": params}, tx)
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
    assert step.num_traces == 1
