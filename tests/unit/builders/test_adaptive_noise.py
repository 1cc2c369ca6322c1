"""Adaptive noise by its config: what the network is conditioned on, and what is refused."""

import pytest

from builders.adaptive_noise import with_conditions
from tests.support.configs import load


def config_of(**settings):
    config = load("configs/vdm/digits_mulan.py")
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in settings.items()})
    return config


def test_the_network_sees_the_latent_and_where_it_can_the_time_of_each_pixel():
    assert with_conditions(config_of()).model.conditions == ("latent[16]:norm", "noise_times[8,8,1]:concat")
    found = with_conditions(config_of(model__name="dit", adaptive__entry="add", adaptive__dim=3))
    assert found.model.conditions == ("latent[3]:add",)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"training__noise_schedule": "fixed"}, "noise_schedule = 'fixed' .* use 'learned' and 'levels'"),
        ({"eval__bpd_method": "ode"}, "bpd_method = 'ode'; use 'learned' and 'levels'"),
        ({"model__num_labels": 10}, "on its latent alone"),
        ({"sampling__method": "solver"}, "sampling.method = 'solver', .* use 'pc'"),
        ({"sampling__guidance": "autoguidance"}, "sampling.guidance = 'autoguidance', .* use 'none'"),
        ({"sampling__predictor": "reverse_diffusion"}, "use one of ancestral_sampling, ddim, euler_maruyama, heun"),
        ({"sampling__predictor": "heun", "sampling__churn": 1.0}, "churn = 1.0"),
    ],
)
def test_what_does_not_go_with_noise_of_each_pixel_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        with_conditions(config_of(**settings))
