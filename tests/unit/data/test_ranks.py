"""The embedded series, volumes and vectors are what they say, and their splits share nothing."""

import numpy as np

from data import stock
from data.sets import blobs, co2, tumors


def test_no_week_is_in_both_splits_and_levels_are_the_measured_tenths_of_ppm():
    train, test = co2.windows("train"), co2.windows("test")
    assert (len(train), len(test)) == (1712, 342)
    assert max(train) + co2.WEEKS <= min(test) - co2.BEFORE
    values = co2.series()
    assert len(values) == 2284 and np.all((values > 310) & (values < 375))
    for start, levels in [*list(train.items())[::200], *list(test.items())[::50]]:
        ppm = (levels.astype(float) - co2.ZERO) * co2.STEP_PPM + values[start - co2.BEFORE : start].mean()
        np.testing.assert_allclose(ppm, values[start : start + co2.WEEKS], atol=co2.STEP_PPM / 2 + 1e-9)
        assert levels.max() < co2.NUM_LEVELS


def test_a_volume_is_a_function_of_its_number_and_no_test_volume_is_a_training_volume():
    first = [blobs.volume(0, number) for number in range(20)]
    np.testing.assert_array_equal(first[3], blobs.volume(0, 3))
    assert len({volume.tobytes() for volume in first} | {blobs.volume(1, n).tobytes() for n in range(20)}) == 40
    assert all(volume.max() == blobs.NUM_LEVELS - 1 and np.mean(volume == 0) > 0.3 for volume in first)


def test_tumors_are_standardized_on_the_training_split():
    from sklearn.datasets import load_breast_cancer

    train, test = (stock.load("tumors", split) for split in ("train", "test"))
    assert (len(train), len(test), train.shape, train.num_levels, train.dtype) == (474, 95, (30,), 0, "float32")
    values = [source.fetch(np.arange(len(source))) for source in (train, test)]
    np.testing.assert_allclose(values[0]["x"].mean(0), 0, atol=1e-5)  # float32
    np.testing.assert_allclose(values[0]["x"].std(0), 1, rtol=1e-5)
    original = load_breast_cancer()
    order = np.argsort(np.concatenate([v["x"][:, 0] for v in values]), kind="stable")
    labels = np.concatenate([v["label"] for v in values])[order]
    assert labels.sum() == original.target.sum() and original.data.shape[1] == tumors.NUM_FEATURES
    joined = np.concatenate([v["x"][:, 0] for v in values])[order]
    assert np.corrcoef(joined, np.sort(original.data[:, 0]))[0, 1] > 1 - 1e-6  # a straight line of the original
