"""Networks that a config names by their import path: Linen, nnx, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.network import example_inputs, make_network, network_entry
from configs import default
from models.nnx_adapter import NnxNetwork
from tests.support import own_networks
from tests.support.configs import load


def config_of(name):
    config = load("configs/vp/vectors_mlp_continuous.py")
    config.model.update(name=name, nf=8)
    config.data.shape = (5,)
    return config


@pytest.fixture(scope="module")
def nnx_network():
    config = config_of(own_networks.NNX)
    network = make_network(config)
    return network, jax.jit(lambda: network.init({"params": jax.random.key(0)}, *example_inputs(config)))()["params"]


def test_a_linen_module_gets_the_settings_that_its_fields_name():
    network = make_network(config_of(own_networks.LINEN))
    assert (network.nf, network.num_channels, network.slope, network.name) == (8, 5, 0.1, None)
    assert network_entry(config_of(own_networks.LINEN)).ranks == (1,)
    assert network_entry(config_of(own_networks.NNX)).ranks == (1, 2, 3, 4)


def test_the_parameters_of_an_nnx_module_are_named_as_its_attributes(nnx_network):
    network, params = nnx_network
    assert isinstance(network, NnxNetwork)
    assert jax.tree.map(jnp.shape, params) == {
        "layers": {"0": {"kernel": (6, 8), "bias": (8,)}, "1": {"kernel": (8, 8), "bias": (8,)}},
        "out": {"kernel": (8, 5), "bias": (5,)},
    }


def test_an_nnx_module_drops_in_training_only_and_by_its_key(nnx_network):
    network, params = nnx_network
    x, time = jnp.ones((2, 5)), jnp.ones(2)

    @jax.jit
    def train(key):
        return network.apply({"params": params}, x, time, train=True, rngs={"dropout": key})

    still = network.apply({"params": params}, x, time)
    h = np.concatenate([x, np.full((2, 1), 1e-3)], axis=1)
    for layer in ("0", "1"):
        h = np.asarray(jax.nn.swish(h @ params["layers"][layer]["kernel"] + params["layers"][layer]["bias"][None]))
    # Float32 sums of eight terms in another order.
    np.testing.assert_allclose(still, h @ params["out"]["kernel"] + params["out"]["bias"][None], rtol=1e-5, atol=1e-6)
    first, second = train(jax.random.key(0)), train(jax.random.key(1))
    np.testing.assert_array_equal(first, train(jax.random.key(0)))
    assert float(jnp.abs(first - still).max()) > 1e-3 < float(jnp.abs(first - second).max())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("tests.support.own_networks:absent", {}, "has no class or function absent"),
        (
            "tests.support.own_networks:needs_more",
            {},
            "has the parameter 'depth', which is no setting; give it a default",
        ),
        ("tests.support.own_networks:nothing", {}, "has the capability 'colour', but there are .*classes"),
        (
            "tests.support.own_networks:narrow",
            {},
            r"returns \(1, 3\) for x of shape \(1, 5\), but a prediction has the",
        ),
        ("tests.support.own_networks:Counting", {}, "keeps the collection 'counts' beside its parameters, which score"),
        (
            "builtins:dict",
            {},
            "config.model.name = 'builtins:dict' makes a dict, but a network is a module of flax.linen",
        ),
        (own_networks.LINEN, {"num_labels": 3}, "cannot be conditioned on a class; use ncsnpp"),
        (own_networks.NNX, {"dtype": "bfloat16"}, "has no field `dtype` and computes in float32"),
        (own_networks.NNX, {"conditions": ("a[4]:add",)}, "has no 'add'; use the network ncsnpp or mlp or s4_residual"),
    ],
)
def test_a_network_that_cannot_be_made_is_refused_in_a_sentence(name, settings, message):
    config = config_of(name)
    config.model.update(**settings)
    with pytest.raises(ValueError, match=message):
        make_network(config)


def test_a_network_that_only_a_checkpoint_names_is_not_imported():
    config = default.from_json(default.to_json(config_of("tests.support.own_networks:stored")))
    with pytest.raises(
        ValueError, match=r"own_networks:stored' is code that a checkpoint names, which is not run unasked"
    ):
        make_network(config)


def test_running_statistics_are_refused_by_name():
    with pytest.raises(ValueError, match=r"keeps BatchStat layers.1.mean beside its parameters, .* nnx.GroupNorm"):
        make_network(config_of(own_networks.NORMALIZED))
