"""The table of networks: what each of them can do, and the errors that follow from it."""

import pytest

from builders.network import NETWORKS, make_network
from configs import default
from configs.vp import smoke


def config_of(name, **data):
    config = smoke.get_config()
    config.model.name = name
    config.data.update(**data)
    return config


def test_only_the_wide_resnet_is_a_classifier():
    assert [name for name, entry in NETWORKS.items() if entry.is_classifier] == ["wideresnet"]


@pytest.mark.parametrize("name", [name for name, entry in NETWORKS.items() if not entry.classes])
def test_a_network_without_classes_names_those_that_have_them(name):
    config = config_of(name)
    config.model.num_labels = 10
    with pytest.raises(
        ValueError,
        match=f"{name}' cannot be conditioned on a class; use ncsnpp or mlp or s4_residual or dit or edm2 or wide",
    ):
        make_network(config)


@pytest.mark.parametrize("name", [name for name, entry in NETWORKS.items() if not entry.augmentation])
def test_a_network_without_augmentation_names_those_that_have_it(name):
    config = config_of(name)
    config.model.augment_dim = 9
    with pytest.raises(
        ValueError,
        match=f"{name}' cannot be conditioned on an augmentation; use ncsnpp or mlp or s4_residual or dit, or",
    ):
        make_network(config)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(30,), (16, 2), (8, 8, 1), (8, 8, 8, 1)])
def test_a_network_refuses_shapes_of_other_ranks_and_names_networks_that_take_them(name, shape):
    if len(shape) in NETWORKS[name].ranks:
        return
    rows = {other: entry for other, entry in NETWORKS.items() if entry.categories == NETWORKS[name].categories}
    fitting = [other for other, entry in rows.items() if len(shape) in entry.ranks and not entry.is_classifier]
    with pytest.raises(ValueError, match=rf"model.name = '{name}' is for .* the shape .*; use {', '.join(fitting)}"):
        make_network(config_of(name, shape=shape))


def test_the_capabilities_that_are_declared_are_those_of_the_modules():
    for name, entry in NETWORKS.items():
        config = default.get_config()
        config.model.update(name=name, nf=8, num_labels=3 if entry.is_classifier else 0, num_categories=5)
        if name.startswith("ncsn") and name != "ncsnpp":
            config.training.update(sde="vesde", continuous=False)
            config.model.normalization = "InstanceNorm++"
        config.data.shape = {1: (30,), 2: (32, 3)}.get(entry.ranks[-1], (32, 32, 3))
        module = make_network(config)
        assert hasattr(module, "remat") == entry.remat, name
        # EDM2 makes an embedding of its own from the settings of that one.
        assert (hasattr(module, "embedding") and name != "edm2") == entry.augmentation, name
        assert (hasattr(module, "embedding") or hasattr(module, "num_labels")) == entry.classes, name
