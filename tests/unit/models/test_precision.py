"""Networks in bfloat16: which parameters are converted and how often, and which blocks are rematerialized."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import network as build_network
from builders.network import example_inputs, make_network
from builders.objective import make_objective
from builders.sampler import make_sampler
from builders.score import make_predict_of
from core.keys import example_keys
from models.blocks.normalization import GroupNorm
from models.blocks.refinenet import InstanceNorm2dPlus
from models.precision import converted
from tests.support.configs import load
from tests.support.networks import CONFIGS, config_of, params_of
from training.accumulation import gradients
from training.objectives.base import make_loss_fn

B = 4  # examples


def inputs_of(config):
    x, time, cond = example_inputs(config)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((B, *x.shape[1:])).astype(np.float32)
    integer = config.model.name.startswith(("ncsn_", "ncsnv2")) or config.model.name == "ncsn"
    time = np.arange(B) if integer else np.linspace(0.1, 0.9, B, dtype=np.float32)
    return x, time, None if cond is None else {"labels": np.arange(B)}


def jaxprs_of(equation):
    """The jaxprs inside an equation of a jaxpr."""
    held = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr"))
    return [getattr(p, "jaxpr", p) for p in held if hasattr(p, "eqns") or hasattr(p, "jaxpr")]


def uses(jaxpr, variables, deep=True):
    """[conversions, other uses] of each variable in a jaxpr and, if `deep`, in the jaxprs inside it."""
    found = [[0, 0] for _ in variables]
    for equation in jaxpr.eqns:
        for count, variable in zip(found, variables, strict=True):
            at = [k for k, argument in enumerate(equation.invars) if argument is variable]
            bodies = jaxprs_of(equation) if deep else []
            for position in at:
                if bodies:
                    inner = bodies[0].invars[position + len(bodies[0].invars) - len(equation.invars)]
                    conversions, others = uses(bodies[0], [inner])[0]
                else:
                    conversions, others = (1, 0) if equation.primitive.name == "convert_element_type" else (0, 1)
                count[0], count[1] = count[0] + conversions, count[1] + others
    return found


def uses_of_parameters(fn, params, deep=True):
    """`uses` of each parameter, by its path, in `fn(params)`."""
    jaxpr = jax.make_jaxpr(fn)(params).jaxpr
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return dict(zip(paths, uses(jaxpr, jaxpr.invars, deep), strict=True))


def dtypes_of(params):
    return {jax.tree_util.keystr(path): leaf.dtype for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_converted_parameters_are_those_that_the_network_would_convert_once(name):
    config = config_of(name, dtype="bfloat16")
    network, params, inputs = make_network(config), params_of(config), inputs_of(config)
    found = uses_of_parameters(lambda params: network.apply({"params": params}, *inputs), params)
    types = dtypes_of(converted(params, jnp.bfloat16))
    for path, (conversions, others) in found.items():
        if "embedding" in path:  # a table, whose rows are used one at a time
            assert types[path] == jnp.float32
        elif types[path] == jnp.bfloat16:
            assert (conversions, others) == (1, 0), path
        else:
            assert conversions == 0 and others > 0, path
    assert jax.eval_shape(lambda: network.apply({"params": params}, *inputs)).dtype == jnp.float32
    assert {types[path] for path in types} == {jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)}


def test_a_training_step_converts_every_parameter_once_and_a_sampler_before_its_loop():
    config = config_of("ncsnpp", dtype="bfloat16", num_labels=0)
    params, batch = params_of(config), {"x": jnp.zeros((B, 8, 8, 1), jnp.uint8), "label": jnp.zeros((B,), jnp.int32)}
    loss_fn = make_loss_fn(make_objective(config, 17))

    def gradient(params):
        return gradients(loss_fn)({"params": params}, jax.random.key(0), batch, jnp.int32(0))

    step = uses_of_parameters(gradient, params)
    predict_of, sampler = make_predict_of(config), make_sampler(config)

    def sample(params):
        return sampler(example_keys(jax.random.key(0), B), predict_of(params, {}, None), (B, 8, 8, 1)).x

    before = uses_of_parameters(sample, params, deep=False)
    for path, dtype in dtypes_of(converted(params, jnp.bfloat16)).items():
        if dtype == jnp.bfloat16:
            assert step[path] == [1, 0] and before[path] == [1, 0], path


def test_statistics_of_normalization_are_float32():
    """Around 256, bfloat16 has only multiples of 2: a mean or variance computed in it would be far off."""
    x = np.asarray(256 + 2 * np.random.default_rng(0).integers(0, 2, (2, 16, 16, 4)), np.float64)
    expected = (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)
    norm = GroupNorm(1)
    params = {"params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}}
    given = norm.apply(params, jnp.asarray(x, jnp.bfloat16))
    assert given.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(given, np.float64), expected, rtol=2**-8)  # the result's own rounding
    plus = InstanceNorm2dPlus()
    params = {"params": {"alpha": jnp.zeros(4), "gamma": jnp.ones(4), "beta": jnp.zeros(4)}}
    given = plus.apply(params, jnp.asarray(x, jnp.bfloat16))
    expected = (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)
    np.testing.assert_allclose(np.asarray(given, np.float64), expected, rtol=2**-8)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in ("mlp", "s4_residual")])
def test_every_network_with_blocks_can_rematerialize_them_with_the_same_parameters(name):
    config, remat = config_of(name), config_of(name, remat=True)
    params, inputs = params_of(config), inputs_of(config)
    assert dtypes_of(params).keys() == dtypes_of(params_of(remat)).keys()
    equations = jax.make_jaxpr(lambda p: make_network(remat).apply({"params": p}, *inputs))(params).eqns
    assert sum(equation.primitive.name in ("remat2", "checkpoint") for equation in equations) >= 3


def test_a_perceptron_has_no_blocks_to_rematerialize():
    with pytest.raises(ValueError, match=r"config.model.remat = True .* 'mlp' does not have; set it to False\.$"):
        make_network(config_of("mlp", remat=True))


class WithoutDtype(nn.Module):
    """A network that computes in float32 and has no field `dtype`."""

    @nn.compact
    def __call__(self, x, time, cond=None, train=False):
        return nn.Dense(x.shape[-1])(x)


def test_a_network_without_a_dtype_of_its_own_computes_in_float32_and_refuses_another(monkeypatch):
    monkeypatch.setitem(
        build_network.NETWORKS, "own", build_network.NetworkEntry(lambda config, process: WithoutDtype())
    )
    config = load("configs/vp/smoke.py")
    config.model.name = "own"
    assert build_network.computes_in(make_network(config)) == jnp.float32
    config.model.dtype = "bfloat16"
    with pytest.raises(ValueError, match="the network 'own' has no field `dtype` and computes in float32"):
        make_network(config)
