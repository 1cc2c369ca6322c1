"""How restored images are judged: the signal-to-noise ratio, and what is reached without a model."""

import itertools

import numpy as np
import pytest
from PIL import Image

from evaluation.metrics.psnr import psnr_db
from evaluation.metrics.restoration import as_measured, cubic, gray_replicated, mean_fill


def test_the_peak_signal_to_noise_ratio_is_that_of_the_mean_square():
    truth = np.full((2, 4, 4, 3), 0.5)
    images = truth + np.array([0.1, 0.01])[:, None, None, None]
    np.testing.assert_allclose(psnr_db(images, truth), [20, 40])
    assert psnr_db(truth, truth)[0] == 100  # instead of infinity
    assert psnr_db(truth + 9, truth)[0] == pytest.approx(psnr_db(np.ones_like(truth), truth)[0])  # clipped


def test_the_ratio_of_unbounded_data_is_that_of_their_range():
    truth = np.linspace(-30, 70, 12).reshape(2, 6)
    np.testing.assert_allclose(psnr_db(truth + 10, truth, value_range=100.0), [20, 20])


SHAPES = {"series": (8, 3), "images": (8, 12, 3), "volumes": (4, 8, 6, 3)}


@pytest.mark.parametrize("kind", SHAPES)
def test_each_baseline_is_right_where_it_can_be(kind):
    shape = SHAPES[kind]
    known = np.zeros((1, *shape[:-1], 1), bool)
    known[:, : shape[0] // 2] = True
    flat = np.broadcast_to(np.array([0.2, 0.4, 0.6], np.float32), (2, *shape))
    small = flat[(slice(None), *(slice(None, None, 2),) * (len(shape) - 1))]
    results = {
        "mean_fill": mean_fill(flat * known, known, shape),
        "cubic": cubic(small, known, shape),
        "as_measured": as_measured(flat, known, shape),
    }
    for name, restored in results.items():
        np.testing.assert_allclose(restored, flat, atol=1e-6, err_msg=name)
    gray = np.broadcast_to(np.float32(0.3), (2, *shape[:-1], 1))
    np.testing.assert_array_equal(gray_replicated(gray, known, shape), np.full((2, *shape), np.float32(0.3)))


def test_unknown_entries_of_a_vector_get_the_mean_of_the_known_ones():
    known = np.array([[True, False, True, False]])
    np.testing.assert_allclose(mean_fill(np.array([[1.0, 0.0, 3.0, 0.0]]), known, (4,)), [[1, 2, 3, 2]])


def test_cubic_interpolation_of_images_is_that_of_pillow_along_both_sides():
    small = np.random.default_rng(0).random((2, 4, 6, 3)).astype(np.float32)
    large = cubic(small, np.ones(()), (8, 12, 3))
    for n, c in itertools.product(range(2), range(3)):
        expected = Image.fromarray(small[n, ..., c]).resize((12, 8), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(large[n, ..., c], np.asarray(expected))
