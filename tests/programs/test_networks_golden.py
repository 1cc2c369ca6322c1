"""The golden numbers of whole U-Nets and RefineNets: outputs, scores, and scores of imported checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.network import make_network
from builders.process import make_sde
from builders.score import make_predict_of
from corruption.predictions import score_of, to_score
from interop import base
from interop.load import load
from models.parameterizations import PARAMETERIZATIONS, descending_level, make_predict, noise_level, scaled_time
from sde.chain import ddpm_chain, smld_chain
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.networks import abstract, network_of, shapes
from tests.support.published import FILES, config_of, golden_file, outline_of

CASES = {  # file: (SDE, time, output)
    "model_ncsnpp_ve_cont": (VE(0.01, 50.0), noise_level, "score"),
    "model_ncsnpp_ve_cont_skip": (VE(0.01, 1348.0), noise_level, "score"),
    "model_ncsnpp_ve_discrete": (smld_chain(0.01, 50.0, 1000), descending_level, "score"),
    "model_ncsnpp_vp_cont": (VP(), scaled_time(999.0), "noise"),
    "model_ddpmpp_vp_cont": (VP(), scaled_time(999.0), "noise"),
    "model_ddpmpp_subvp_cont": (SubVP(), scaled_time(999.0), "noise"),
    "model_ddpm_vp_cont": (VP(), scaled_time(999.0), "noise"),
    "model_ddpm_vp_discrete": (ddpm_chain(0.1, 20.0, 1000), scaled_time(999.0), "noise"),
    "model_ncsn_ve_discrete": (smld_chain(0.01, 1.0, 10), descending_level, "score"),
    "model_ncsnv2_ve_discrete": (smld_chain(0.01, 50.0, 232), descending_level, "score"),
}


@pytest.mark.parametrize("name", CASES)
def test_network_and_score_equal_the_published_numbers(name, golden):
    g, (sde, time, output) = golden(name), CASES[name]
    config = g.index["config"]
    model = network_of(config["model"], num_channels=3, centered=config["data"]["centered"])
    params, x, t = g.params(), jnp.asarray(g["x"]), jnp.asarray(g["t"])
    assert shapes(abstract(model, x)) == shapes(params)
    traces = []

    @jax.jit
    def apply(x, time, cond):
        traces.append(x.shape)
        return model.apply({"params": params}, x, time, cond)

    g.check("model_output", apply(x, jnp.asarray(g["labels"]), None))
    np.testing.assert_allclose(time(sde, t), g["labels"], rtol=1e-6)  # one or two operations in float32
    g.check("score", score_of(make_predict(apply, sde, time, PARAMETERIZATIONS[output](0.5))(x, t), sde, t))
    assert len(traces) == 1


@pytest.mark.parametrize("name", FILES)
def test_scores_of_both_parameter_sets_of_an_imported_file_are_the_published_ones(name, golden):
    config = config_of(name)
    found = load(golden_file(name), *outline_of(make_network(config)))
    g = golden(f"checkpoints/{name}_expected")
    sde = make_sde(config)
    score = jax.jit(lambda params, x, t: to_score(make_predict_of(config)(params, {}, None), sde)(x, t))
    for key, params in (("score_params_ema", found.ema_params), ("score_params_raw", found.params)):
        g.check(key, score(base.nest(params), jnp.asarray(g["x"]), jnp.asarray(g["t"])))
