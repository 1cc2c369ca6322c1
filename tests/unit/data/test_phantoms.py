"""Phantoms are functions of their numbers, and no subject is in two splits."""

import numpy as np
import pytest

from data import stock
from data.sets import ellipsoids, phantoms

SETS = ("phantoms", "phantoms_complex", "phantoms_lesions", "phantoms_16", "phantoms_32")


@pytest.mark.parametrize("name", SETS)
def test_no_slice_of_a_test_subject_is_a_training_example(name):
    """All examples of a subject are in one split, and all subjects of the splits are different heads."""
    train, test = (stock.load(name, split) for split in ("train", "test"))
    per_subject = 1 if name[-1].isdigit() else 4
    assert (len(train), len(test)) == (750 * per_subject, 50 * per_subject)
    few = train.fetch(np.arange(12)), test.fetch(np.arange(12))
    subjects = [set(examples["subject"].tolist()) for examples in few]
    assert max(subjects[0]) < 750 <= min(subjects[1]) and max(subjects[1]) < 800
    for source, examples in zip((train, test), few, strict=True):
        for field, array in examples.items():
            assert array.shape == (12, *source.fields[field].shape) and array.dtype == source.fields[field].dtype
    assert train.fields["subject"].num_classes == 800
    flat = np.concatenate([examples["x"].reshape(12, -1) for examples in few])
    assert len(np.unique(flat, axis=0)) == 24


def test_four_slices_of_each_subject_are_in_its_split():
    subjects = np.sort(stock.load("phantoms", "test").fetch(np.arange(200))["subject"])
    np.testing.assert_array_equal(subjects, np.repeat(np.arange(750, 800), 4))


def test_an_example_is_a_function_of_its_number():
    np.testing.assert_array_equal(phantoms.healthy(0, 3, 2), phantoms.healthy(0, 3, 2))
    different = [phantoms.healthy(*at) for at in ((0, 3, 2), (0, 3, 1), (0, 4, 2), (1, 3, 2))]
    assert all((a != b).mean() > 0.02 for i, a in enumerate(different) for b in different[:i])


def test_heads_are_within_the_circle_and_have_all_parts():
    """Bright, gray and dark places, and nothing outside of the circle that tomography sees."""
    axis = (2 * np.arange(64) + 1) / 64 - 1
    outside = np.hypot(*np.meshgrid(axis, axis)) > 0.97
    for number in range(8):
        x = phantoms.healthy(1, number, number % 4)
        assert x[outside].max() < 1e-3 and x.min() >= 0 and x.max() > 0.8
        assert 0.2 < np.mean((x > 0.25) & (x < 0.45)) < 0.6


def test_complex_phantoms_have_the_magnitude_of_phantoms_and_a_smooth_phase():
    x = stock.load("phantoms_complex", "test").fetch(np.arange(8))["x"].astype(np.float64)
    levels = stock.load("phantoms", "test").fetch(np.arange(8))["x"][..., 0]
    z = x[..., 0] + 1j * x[..., 1]
    np.testing.assert_allclose(np.abs(z), levels / 255, atol=0.5 / 255 + 1e-6)
    inside = np.abs(z) > 0.2
    both = inside[:, 1:] & inside[:, :-1]
    steps = np.angle(z[:, 1:] * z[:, :-1].conj())[both]
    assert np.abs(steps).max() < 0.35 and np.abs(steps).max() > 0.02  # radians from a pixel to the next
    assert np.ptp(np.angle(z[inside])) > 3


def test_lesions_change_a_slice_within_their_mask_alone():
    """Up to the soft border of the lesion; the mask is where at least half of the change is."""
    found = stock.load("phantoms_lesions", "test").fetch(np.arange(60))
    healthy = stock.load("phantoms", "test").fetch(np.arange(60))["x"].astype(int)
    change, mask = found["x"].astype(int) - healthy, found["lesion"] == 1
    for label, sign in ((0, -1), (1, 1)):
        of_class = found["label"] == label
        assert of_class.sum() > 15
        assert np.median(sign * change[of_class][mask[of_class]]) > 20
    sizes = mask.sum((1, 2, 3))
    assert sizes.min() > 5 and sizes.max() < 100
    assert (change != 0)[~mask].mean() < 0.01
    subjects = stock.load("phantoms", "test").fetch(np.arange(60))["subject"]
    np.testing.assert_array_equal(found["subject"], subjects)


def test_volumes_are_whole_heads():
    small, large = (stock.load(f"phantoms_{size}", "test").fetch(np.arange(2))["x"] for size in (16, 32))
    assert small.shape == (2, 16, 16, 16, 1) and large.shape == (2, 32, 32, 32, 1)
    blocks = large.astype(float).reshape(2, 16, 2, 16, 2, 16, 2).mean((2, 4, 6))
    assert np.corrcoef(blocks.ravel(), small.ravel())[0, 1] > 0.95  # the same heads
    assert large[:, 16].max() > 150 and large[:, 0].max() < 60


def test_a_part_covers_what_was_there():
    eye = np.eye(3)
    parts = [
        ellipsoids.Ellipsoid(np.zeros(3), np.full(3, radius), eye, value) for radius, value in ((0.8, 1), (0.4, 0.2))
    ]
    points = np.array([[0.0, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.9], [0.0, 0.4, 0.0]])
    np.testing.assert_allclose(ellipsoids.render(parts, points, 0.01), [0.2, 1, 0, 0.6], atol=1e-6)
