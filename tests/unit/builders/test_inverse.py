"""Restoration tasks of a config: their masks and operators, and methods that a sampler cannot be used with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.inverse import (
    MASKED,
    OPERATORS,
    check_rank,
    default_mask,
    operator,
    posterior_sampler,
    width,
    with_singular_values,
)
from builders.process import make_sde
from builders.sampler import make_sampler
from configs.vp import smoke
from sampling.inverse.operators.base import inner, is_complex, observe
from sampling.inverse.operators.factored import Factored
from sampling.inverse.operators.mask import mask
from sampling.inverse.operators.radon import radon
from sampling.inverse.operators.sense import sense, simulated_coils
from sampling.inverse.operators.sense_lines import SenseLines
from sampling.inverse.operators.weighted import Weighted


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


SHAPES = {1: (12,), 2: (8, 3), 3: (8, 4, 3), 4: (4, 8, 4, 2)}


@pytest.mark.parametrize(("task", "rank"), [(task, rank) for task, entry in OPERATORS.items() for rank in entry.ranks])
def test_every_task_measures_examples_of_all_its_ranks(task, rank):
    """The contract of a row: <A x, y> = <x, A^T y>, shapes, a mask that fits, and a baseline of the example's shape."""
    config, shape, entry = smoke.get_config(), SHAPES[rank], OPERATORS[task]
    known = default_mask(config, task, shape)[None]
    found = operator(config, task, shape, known)
    assert tuple(found.shape) == shape
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)
    Ax = found.measure(x)
    assert Ax.shape == (2, *found.measurement_shape) and jnp.iscomplexobj(Ax) == is_complex(found)
    y = jnp.asarray(rng.normal(size=Ax.shape) + (1j * rng.normal(size=Ax.shape) if is_complex(found) else 0), Ax.dtype)
    Aty = found.adjoint(y)
    assert Aty.shape == x.shape and Aty.dtype == x.dtype
    np.testing.assert_allclose(inner(Ax, y), inner(x, Aty), rtol=1e-4, atol=1e-4)  # float32 sums of 256 products
    assert observe(found, jax.random.split(jax.random.key(0), 2), x, 0.1).shape == Ax.shape
    data = np.asarray(Ax if entry.as_data is None else entry.as_data(found, Ax))
    assert entry.baseline.restore(data, known, shape).shape == x.shape


def test_a_task_is_refused_for_other_ranks_with_those_it_has():
    message = r"--task=deblur is for series \(L, C\), images .*, but .* the shape \(12,\); use inpaint, denoise, uncond"
    with pytest.raises(ValueError, match=message):
        check_rank(smoke.get_config(), "deblur", (12,))


def test_default_masks_of_other_ranks_hide_the_central_half_of_every_side():
    config = smoke.get_config()
    np.testing.assert_array_equal(default_mask(config, "inpaint", (4,)), [True, False, False, True])
    series, volume = (default_mask(config, "inpaint", shape) for shape in ((8, 3), (4, 4, 8, 1)))
    assert series.shape == (8, 1) and list(np.flatnonzero(~series[:, 0])) == [2, 3, 4, 5]
    assert volume.shape == (4, 4, 8, 1) and (~volume).sum() == 2 * 2 * 4 and not volume[1:3, 1:3, 2:6].any()


def test_noise_is_measured_in_the_units_of_the_data():
    config = smoke.get_config()
    config.data.centered = True
    assert width(config, 256) == 2
    config.data.scale = 4.0
    assert width(config, 0) == 0.25


def test_singular_values_are_computed_where_a_method_solves_and_an_operator_does_not_know_them():
    config, shape = smoke.get_config(), (4, 4, 1)
    sums = radon(shape, [0.0, 1.0])
    counted = Weighted(sums, jnp.ones((1, 2, 4, 1)))  # would need a decomposition for each measurement
    known = mask(shape, np.ones(shape))
    coils = simulated_coils((4, 4), 2)
    lines, points = (sense(shape, coils, m) for m in (np.eye(4)[:1, :, None], np.eye(4)[..., None]))
    several = sense(shape, coils, np.stack([np.eye(4)[:1, :, None], np.eye(4)[1:2, :, None]]))  # of two examples
    for method, measured, kind in (
        ("ddnm", sums, Factored),
        ("dps", sums, None),
        ("ddnm", known, None),
        ("ddnm", counted, None),
        ("ddnm", lines, SenseLines),
        ("dps", lines, None),
        ("ddnm", points, Factored),
        ("ddnm", several, None),
    ):
        config.restore.method = method
        found = with_singular_values(config, measured)
        assert isinstance(found, kind) if kind else found is measured


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
        posterior_sampler(config, make_sde(config), make_sampler(config), 0.25, 1.0)
