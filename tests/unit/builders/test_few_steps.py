"""Few-step objectives by their config: what trains nothing, what was not trained, and what needs no network."""

from types import SimpleNamespace

import numpy as np
import pytest

from builders.few_steps import check_density, rule
from builders.objective import make_objective
from builders.process import make_sde
from configs import default, presets
from systems.density import density_of
from systems.diffusion import Diffusion


def config_of(objective, **training):
    config = default.get_config()
    presets.mlp(config)
    config.data.shape = (2,)
    config.model.update(nf=8, num_res_blocks=1)
    presets.flow(config)
    presets.few_steps(config, objective)
    config.training.update(training)
    return config


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        ("shortcut", {"flow_share": 0.0}, "objective = 'shortcut' has targets by the network's own.*above 0"),
        ("improved_mean_flow", {"velocity": "example", "flow_share": 0.0}, "'improved_mean_flow' has targets"),
        ("mean_flow", {"flow_share": 0.0}, "velocity = 'network' has targets"),
        ("consistency", {"flow_share": 0.0}, "velocity = 'network' has targets"),
        ("mean_flow", {"velocity": "example", "flow_share": 0.0, "train_guidance": 2.0}, "train_guidance = 2.0 has"),
        ("mean_flow", {"noise_schedule": "learned"}, "'learned' trains on a bound.*'mean_flow'; use"),
        ("consistency", {"noise_schedule": "fixed"}, "'fixed' trains on a bound.*'consistency'; use"),
    ],
)
def test_objectives_that_data_do_not_train_are_refused(objective, settings, message):
    config = config_of(objective, **settings)
    config.model.update(num_labels=3, label_dropout=0.1)
    with pytest.raises(ValueError, match=message):
        make_objective(config, 0)


@pytest.mark.parametrize("objective", ["mean_flow", "consistency", "continuous_consistency"])
def test_targets_of_examples_need_no_flow_matching(objective):
    rule(config_of(objective, velocity="example", flow_share=0.0))


def test_a_velocity_that_was_not_trained_gives_no_likelihoods_or_codes():
    config = config_of("consistency", velocity="example", flow_share=0.0)
    system = SimpleNamespace(config=config, sde=make_sde(config))
    density = density_of(system)
    for measure in (
        lambda: Diffusion.bits_per_dim.func(system),
        lambda: Diffusion.bits_per_dim_task(system, 1, {}),
        lambda: density.encode({}, np.zeros((1, 2))),
        lambda: density.decode({}, np.zeros((1, 2))),
    ):
        with pytest.raises(ValueError, match="'consistency' with flow_share = 0.*train with a flow_share above 0"):
            measure()
    check_density(config_of("consistency"))
    check_density(config_of("mean_flow", velocity="example", flow_share=0.0))


def test_a_shortcut_has_no_velocity_of_its_own(monkeypatch):
    """So that it calls no network for one, whatever `training.velocity` says."""
    monkeypatch.setattr("builders.objective.average_velocity", lambda *args, **settings: settings["own_velocity"])
    assert not make_objective(config_of("shortcut", velocity="network"), 0)
    assert make_objective(config_of("mean_flow", velocity="network"), 0)
    assert config_of("shortcut").training.velocity == "example"
