"""How restored images are judged: the signal-to-noise ratio, and what is reached without a model."""

import numpy as np
import pytest

from evaluation.metrics.restoration import BASELINES, psnr_db


def test_the_peak_signal_to_noise_ratio_is_that_of_the_mean_square():
    truth = np.full((2, 4, 4, 3), 0.5)
    images = truth + np.array([0.1, 0.01])[:, None, None, None]
    np.testing.assert_allclose(psnr_db(images, truth), [20, 40])
    assert psnr_db(truth, truth)[0] == 100  # instead of infinity
    assert psnr_db(truth + 9, truth)[0] == pytest.approx(psnr_db(np.ones_like(truth), truth)[0])  # clipped


def test_each_baseline_is_right_where_it_can_be():
    known = np.zeros((1, 8, 8, 1), bool)
    known[:, :, :4] = True
    flat = np.broadcast_to(np.array([0.2, 0.4, 0.6], np.float32), (2, 8, 8, 3))
    results = {
        "inpaint": BASELINES["inpaint"][1](flat * known, known, (8, 8, 3)),
        "superresolve": BASELINES["superresolve"][1](flat[:, ::2, ::2], known, (8, 8, 3)),
        "deblur": BASELINES["deblur"][1](flat, known, (8, 8, 3)),
        "reconstruct": BASELINES["reconstruct"][1](flat, known, (8, 8, 3)),
    }
    for name, restored in results.items():
        np.testing.assert_allclose(restored, flat, atol=1e-6, err_msg=name)
    gray = np.broadcast_to(np.float32(0.3), (2, 8, 8, 1))
    np.testing.assert_array_equal(
        BASELINES["colorize"][1](gray, known, (8, 8, 3)), np.full((2, 8, 8, 3), np.float32(0.3))
    )
