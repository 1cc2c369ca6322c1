"""Restoration tasks of a config: their masks and operators, and methods that a sampler cannot be used with."""

import numpy as np
import pytest

from builders.inverse import MASKED, OPERATORS, default_mask, operator, posterior_sampler
from builders.process import make_sde
from builders.sampler import make_sampler
from configs.vp import smoke


def test_the_tasks_with_a_mask_are_inpainting_and_reconstruction():
    assert MASKED == ("inpaint", "reconstruct")


def test_the_default_mask_of_inpainting_is_a_hole_in_the_center():
    known = default_mask(smoke.get_config(), "inpaint", (8, 8, 1))
    expected = np.ones((8, 8, 1), bool)
    expected[2:6, 2:6] = False
    np.testing.assert_array_equal(known, expected)


def test_the_default_mask_of_reconstruction_has_low_frequencies_and_about_the_share_of_the_config():
    config = smoke.get_config()
    config.restore.kept = 0.25
    known = default_mask(config, "reconstruct", (16, 64, 1))
    assert np.all(known == known[:1])  # whole columns
    assert np.all(known[:, np.abs(np.fft.fftfreq(64, 1 / 64)) <= 4])
    assert 0.2 < known.mean() < 0.5


@pytest.mark.parametrize("task", OPERATORS)
def test_every_task_measures_images_of_the_shape(task):
    config, shape = smoke.get_config(), (8, 8, 3)
    assert tuple(operator(config, task, shape, default_mask(config, task, shape)[None]).shape) == shape


@pytest.mark.parametrize(
    ("sampling", "restore", "message"),
    [
        ({"method": "ode"}, {"method": "projection"}, "'projection' changes x at every step, which the adaptive"),
        ({"method": "solver"}, {"method": "dps", "dps_form": "step"}, "'step' follows the steps of .*method = 'pc'"),
        ({}, {"method": "pigmd"}, "config.restore.method = 'pigmd' is not known; .*nearest: pigdm"),
    ],
)
def test_a_method_that_the_sampler_cannot_be_used_with_is_refused(sampling, restore, message):
    config = smoke.get_config()
    config.sampling.update(sampling)
    config.restore.update(restore)
    with pytest.raises(ValueError, match=message):
        posterior_sampler(config, make_sde(config), make_sampler(config), 0.25, (8, 8, 1))
