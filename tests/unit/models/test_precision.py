"""Networks in bfloat16: what stays in float32, what is converted and how often, and what is computed again."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import network as build_network
from builders.objective import make_objective
from builders.sampler import make_sampler
from builders.score import example_inputs, make_network, make_score_of
from core.keys import example_keys
from models.blocks.normalization import GroupNorm
from models.blocks.refinenet import InstanceNorm2dPlus
from models.precision import converted
from tests.support.configs import load
from training.objectives.score_matching import make_loss_fn

U_NET = {"ch_mult": (1, 2), "attn_resolutions": (4,), "dropout": 0.5}
CASES = {
    "ncsnpp": ("configs/vp/smoke.py", {**U_NET, "num_labels": 10}),
    "pyramids": (
        "configs/ve/digits_ncsnpp_continuous.py",
        {**U_NET, "nf": 8, "fir": True, "progressive": "output_skip", "resblock_type": "ddpm"},
    ),
    "ddpm": ("configs/vp/smoke.py", {**U_NET, "name": "ddpm"}),
    "mlp": ("configs/vp/vectors_mlp_continuous.py", {"nf": 4, "num_res_blocks": 1}),
    "ncsn": ("configs/ve/ncsn/cifar10.py", {"nf": 4, "num_scales": 4}),
    "ncsnv2": ("configs/ve/ncsnv2/cifar10.py", {"nf": 4, "num_scales": 4}),
    "wideresnet": (
        "configs/vp/smoke.py",
        {"name": "wideresnet", "num_labels": 10, "channel_multiplier": 1, "blocks_per_group": 1},
    ),
}
BLOCKS = [name for name in CASES if name != "mlp"]
B = 4


def config_of(name, **model):
    path, settings = CASES[name]
    config = load(path)
    config.model.update(**(settings | model))
    if name.startswith("ncsn") and name != "ncsnpp":
        config.data.image_size = 8
    return config


def params_of(config):
    """Gaussian parameters of a sensible size, drawn by NumPy: nothing to compile."""
    rng, blank = np.random.default_rng(0), example_inputs(config)
    shapes = jax.eval_shape(lambda: make_network(config).init(jax.random.key(0), *blank))["params"]

    def draw(path, leaf):
        fan_in = max(1, leaf.size // leaf.shape[-1]) if leaf.ndim > 1 else 25
        offset = 1.0 if path[-1].key in ("scale", "gamma") else 0.0
        return jnp.asarray(offset + rng.standard_normal(leaf.shape) / fan_in**0.5, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def inputs_of(config):
    x, time, cond = example_inputs(config)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((B, *x.shape[1:])).astype(np.float32)
    integer = config.model.name.startswith(("ncsn_", "ncsnv2")) or config.model.name == "ncsn"
    time = np.arange(B) if integer else np.linspace(0.1, 0.9, B, dtype=np.float32)
    return x, time, None if cond is None else {"labels": np.arange(B)}


def jaxprs_of(equation):
    """The jaxprs that an equation of a jaxpr holds."""
    held = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr"))
    return [getattr(p, "jaxpr", p) for p in held if hasattr(p, "eqns") or hasattr(p, "jaxpr")]


def uses(jaxpr, variables, deep=True):
    """[conversions, other uses] of each variable in a jaxpr, and, unless told otherwise, in the jaxprs in it."""
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


def types_of(params):
    return {jax.tree_util.keystr(path): leaf.dtype for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


@pytest.mark.parametrize("name", CASES)
def test_exactly_those_parameters_are_converted_that_the_network_itself_would_convert_once(name):
    config = config_of(name, dtype="bfloat16")
    network, params, inputs = make_network(config), params_of(config), inputs_of(config)
    found = uses_of_parameters(lambda params: network.apply({"params": params}, *inputs), params)
    types = types_of(converted(params, jnp.bfloat16))
    for path, (conversions, others) in found.items():
        if "embedding" in path:  # a table, of which only rows are used
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
    step = uses_of_parameters(lambda p: jax.value_and_grad(loss_fn, has_aux=True)(p, jax.random.key(0), batch), params)
    score_of, sampler = make_score_of(config), make_sampler(config)

    def draw(params):
        return sampler(example_keys(jax.random.key(0), B), score_of(params, {}, None), (B, 8, 8, 1)).x

    before = uses_of_parameters(draw, params, deep=False)
    for path, dtype in types_of(converted(params, jnp.bfloat16)).items():
        if dtype == jnp.bfloat16:
            assert step[path] == [1, 0] and before[path] == [1, 0], path


def test_statistics_of_normalisations_are_float32():
    """Around 256 bfloat16 knows multiples of 2 only: a mean or variance taken in it would be far off."""
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


TINY = {"num_labels": 0, "ch_mult": (1,), "attn_resolutions": (8,)}


def loss_of(config):
    """The loss of a batch as a function of the parameters."""
    rng = np.random.default_rng(2)
    batch = {"x": rng.integers(0, 17, (16, 8, 8, 1)).astype(np.uint8), "label": np.zeros(16, np.int32)}
    loss_fn = make_loss_fn(make_objective(config, 17))
    return lambda params: loss_fn(params, jax.random.key(0), batch)[0]


def gradients_of(config, params):
    """Loss and gradients of a batch."""
    loss, gradients = jax.jit(jax.value_and_grad(loss_of(config)))(params)
    return float(loss), gradients


def kept_for_the_gradient(config, params):
    """Bytes that the pass forward leaves for the pass backward."""
    backward = jax.eval_shape(lambda params: jax.vjp(loss_of(config), params)[1], params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def distance(a, b):
    """|a - b| / |b|, of trees."""
    squares = [
        (float(jnp.sum((x - y) ** 2)), float(jnp.sum(y**2))) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    ]
    over, under = np.sum(squares, axis=0)
    return (over / under) ** 0.5


@pytest.fixture(scope="module")
def plain():
    config = config_of("ncsnpp", **TINY)
    params = params_of(config)
    return params, *gradients_of(config, params)


def test_loss_and_gradients_in_bfloat16_agree_to_what_its_eight_bits_allow(plain):
    params, loss, gradients = plain
    given_loss, given = gradients_of(config_of("ncsnpp", **TINY, dtype="bfloat16"), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(given)} == {jnp.dtype(jnp.float32)}
    # 0.4 per cent for a rounding, of which some twenty follow each other; in a mean over 4,096 pixels they cancel.
    assert given_loss == pytest.approx(loss, rel=0.005) and given_loss != loss
    assert distance(given, gradients) < 0.05


def test_blocks_that_are_computed_again_give_the_same_gradients_and_keep_their_inputs_only(plain):
    params, loss, gradients = plain
    again = config_of("ncsnpp", **TINY, remat=True)
    given_loss, given = gradients_of(again, params)
    # The same arithmetic with the same dropout, which XLA may fuse otherwise.
    assert given_loss == pytest.approx(loss, rel=1e-6) and distance(given, gradients) < 1e-5
    config = config_of("ncsnpp", **TINY)
    assert kept_for_the_gradient(again, params) < 0.4 * kept_for_the_gradient(config, params)


@pytest.mark.parametrize("name", [name for name in CASES if name != "mlp"])
def test_every_network_of_blocks_can_compute_them_again_with_the_same_parameters(name):
    config, again = config_of(name), config_of(name, remat=True)
    params, inputs = params_of(config), inputs_of(config)
    assert types_of(params).keys() == types_of(params_of(again)).keys()
    equations = jax.make_jaxpr(lambda p: make_network(again).apply({"params": p}, *inputs))(params).eqns
    assert sum(equation.primitive.name in ("remat2", "checkpoint") for equation in equations) >= 3


def test_a_perceptron_has_no_blocks_to_compute_again():
    with pytest.raises(ValueError, match=r"config.model.remat = True .* 'mlp' does not have; set it to False\.$"):
        make_network(config_of("mlp", remat=True))


class WithoutType(nn.Module):
    """A network that computes in float32 and has no field that says so."""

    @nn.compact
    def __call__(self, x, time, cond=None, train=False):
        return nn.Dense(x.shape[-1])(x)


def test_a_network_without_a_type_of_its_own_computes_in_float32_and_refuses_another(monkeypatch):
    monkeypatch.setitem(
        build_network.NETWORKS, "own", build_network.NetworkEntry(lambda config, process: WithoutType())
    )
    config = load("configs/vp/smoke.py")
    config.model.name = "own"
    assert build_network.computes_in(make_network(config)) == jnp.float32
    config.model.dtype = "bfloat16"
    with pytest.raises(ValueError, match="the network 'own' has no field `dtype` and computes in float32"):
        make_network(config)
