"""Families of SDEs: one row has everything that depends on the name of an SDE."""

import ast

import jax.numpy as jnp
import numpy as np
import pytest

from builders.process import SDE_FAMILIES, make_sde, network_time, sde_family
from builders.sampler import from_time, make_sampler
from configs import default
from tests.support.paths import ROOT


def config_of(name, continuous=True):
    config = default.get_config()
    config.training.update(sde=name, continuous=continuous)
    config.sampling.update(predictor="reverse_diffusion", num_steps=10)
    return config


def test_published_samplers_stop_where_they_did():
    last = {name: make_sampler(config_of(name)).times[-1] for name in ("vpsde", "subvpsde", "cosine", "vesde")}
    assert last == pytest.approx({"vpsde": 1e-3, "subvpsde": 1e-3, "cosine": 1e-3, "vesde": 1e-5})
    config = config_of("edm")
    config.model.sigma_max = 80.0
    last_sigma = make_sde(config).std(jnp.asarray(make_sampler(config).times[-1]))
    assert float(last_sigma) == pytest.approx(0.002, rel=1e-5)


def test_a_chain_that_starts_below_its_first_level_has_no_more_steps_than_levels_are_left():
    """Whether all levels are asked for or more than there are from the start; fewer are kept."""
    config = config_of("vpsde", continuous=False)
    config.model.num_scales = 100
    t = float(make_sde(config).time(jnp.asarray(49)))
    found = {}
    for num_steps in (None, 100, 60, 20):
        config.sampling.num_steps = num_steps
        found[num_steps] = from_time(config, make_sampler(config), t).times
    assert [len(times) - 1 for times in found.values()] == [50, 50, 50, 20]
    assert all(times[0] == pytest.approx(t) and times[-1] == -1 for times in found.values())


@pytest.mark.parametrize("name", SDE_FAMILIES)
def test_published_parameterizations_and_variances(name):
    family = SDE_FAMILIES[name]
    adds_noise_only = name in ("vesde", "edm")
    expected = {"linear": "flow"}.get(name, "score" if adds_noise_only else "noise")
    assert family.parameterization == expected
    assert family.ancestral_variance == ("posterior" if adds_noise_only or name == "linear" else "transition")


@pytest.mark.parametrize("name", SDE_FAMILIES)
def test_networks_receive_the_published_time(name):
    config, t = config_of(name), jnp.array([0.25, 1.0])
    sde = make_sde(config)
    expected = sde.std(t) if name in ("vesde", "edm") else 999 * t
    np.testing.assert_allclose(network_time(config)(sde, t), expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("vpsde", [0.0, 499.5, 999.0]), ("vesde", [999, 500, 0])])
def test_networks_of_chains_receive_the_published_level(name, expected):
    config, t = config_of(name, continuous=False), jnp.array([0.0, 0.5, 1.0])
    chain = make_sde(config)
    assert chain.is_discrete and chain.num_scales == config.model.num_scales
    np.testing.assert_allclose(network_time(config)(chain, t), expected, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, family in SDE_FAMILIES.items() if family.chain is None])
@pytest.mark.parametrize("build", [make_sde, network_time])
def test_an_sde_without_a_chain_is_refused_in_discrete_time(name, build):
    with pytest.raises(ValueError, match=f"continuous = False has no meaning for {name}; use vpsde or vesde, or True"):
        build(config_of(name, continuous=False))


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="config.training.sde = 'vpsd' is not known; .*nearest: vpsde"):
        sde_family(config_of("vpsd"))


@pytest.mark.parametrize("path", sorted((ROOT / "builders").glob("*.py")), ids=lambda path: path.name)
def test_no_sde_is_recognized_by_name_or_class_outside_the_table(path):
    if path.name == "process.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not {name for name in SDE_FAMILIES if name.endswith("sde")} & strings  # others are names of more than SDEs
    assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"DiscreteChain", "VP", "VE", "EDM"}
