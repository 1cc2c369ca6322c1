"""The tasks that compare reconstructions and maps of anomalies with the truth, and their metrics."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from evaluation.metrics.average_precision import average_precision
from evaluation.metrics.dice import dice
from evaluation.metrics.nmse import nmse
from evaluation.metrics.phase import magnitude, phase_error
from evaluation.metrics.table import METRICS, measure
from evaluation.rounds import Worker, run_task
from evaluation.tasks.anomaly import Detected, anomaly_task
from evaluation.tasks.reconstruction import Reconstructed, reconstruction_task
from evaluation.tasks.segmentation import Segmented, segmentation_task, spread
from reports.records import flatten

RNG = np.random.default_rng(0)
NUM, SIZE, S = 11, 4, 19
TRUTH = RNG.random((NUM, 12, 12, 2))
NOISE = 0.1 * RNG.normal(size=(NUM, S, 12, 12, 2))


def fetch(round_number):
    position = np.arange(round_number * SIZE, (round_number + 1) * SIZE)
    index = np.minimum(position, NUM - 1)
    return {"index": index, "counted": (position < NUM).astype(np.float32)}


def reconstruct(batch):
    truth = TRUTH[batch["index"]]
    rest = {"zeros": np.zeros_like(truth), "twice": 2 * truth}
    return Reconstructed(truth[:, None] + NOISE[batch["index"]], truth, batch["index"] / 100, rest)


@pytest.mark.parametrize("is_complex", [False, True])
def test_a_reconstruction_is_beside_other_methods_and_counts_every_example_once(tmp_path, is_complex):
    others = ("zeros", "twice")
    task = reconstruction_task(NUM, SIZE, fetch, reconstruct, others, value_range=1.0, is_complex=is_complex)
    found = run_task(task, tmp_path)
    assert run_task(task, tmp_path, Worker(1, 2)) == found and task.num_rounds == 3
    assert found["zeros"]["nmse"]["value"] == found["twice"]["nmse"]["value"] == 1
    assert found["residual_max"]["value"] == pytest.approx(0.05) and found["psnr"]["num_examples"] == NUM
    # The mean of 19 samples is 19 times nearer, 12.8 dB, than one of them, with 20 dB; the phase leaves less of it.
    assert (found["psnr"]["value"] > 32) and found["nmse"]["error"] > 0
    # The truth is no further sample: it is the center, and so is within every interval that 19 samples span.
    assert found["interval_coverage"]["value"] > 0.99
    if is_complex:
        assert found["twice"]["phase_error"]["value"] < 1e-12 and found["phase_error"]["value"] > 0.001
    numbers = dict(flatten(found))
    assert all(column.path in numbers and column.error in numbers for column in task.columns)
    assert len(task.columns) == (5 if not is_complex else 6) + 2 * (3 if not is_complex else 4)


def test_a_round_of_other_examples_is_refused(tmp_path):
    task = reconstruction_task(NUM, SIZE, fetch, reconstruct, ())
    rounds = [task.run(number) for number in range(3)]
    with pytest.raises(ValueError, match="the rounds of reconstruction hold 15 entries"):
        task.summarize([rounds[0], *rounds])


def test_the_phase_is_what_turns_a_complex_number():
    turned = np.exp(0.3j) * 2.0 * (TRUTH[..., 0] + 1j * TRUTH[..., 1])
    found = np.stack([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(phase_error(found, TRUTH), 0.3, rtol=1e-12)
    np.testing.assert_allclose(magnitude(found), 2 * magnitude(TRUTH), rtol=1e-12)
    outside = TRUTH.copy()
    outside[:, :6] *= 0.01  # below a tenth of the largest magnitude, so any phase will do
    other = outside.copy()
    other[:, :6] = 1
    np.testing.assert_allclose(phase_error(other, outside), 0, atol=1e-12)


def test_the_normalized_error_is_that_of_each_example():
    x = np.array([[3.0, 4.0], [1.0, 0.0]])
    np.testing.assert_allclose(nmse(x + np.array([[0, 5], [0, 1]]), x), [1, 1])
    assert np.isfinite(nmse(x, np.zeros_like(x))).all()


def test_average_precision_is_that_of_scikit_learn_and_needs_both():
    mask, scores = RNG.random((NUM, 12, 12)) < 0.2, RNG.random((NUM, 12, 12))
    found = average_precision(scores + 0.2 * mask, mask)
    assert found.value == average_precision_score(mask.ravel(), (scores + 0.2 * mask).ravel()) and found.error > 0
    with pytest.raises(ValueError, match="True everywhere; average precision needs both"):
        average_precision(np.arange(4.0), np.ones(4, bool))
    assert {"nmse", "average_precision"} <= set(METRICS)
    with pytest.raises(ValueError, match="metric nmse needs predictions and the truth"):
        measure(names=("nmse",))


def test_anomalies_are_found_by_pixels_and_by_examples(tmp_path):
    mask = np.zeros((NUM, 6, 6), bool)
    mask[:5, 2:4, 2:4] = True  # the others are healthy
    noise = RNG.random((NUM, 6, 6))

    def detect(batch):
        rows = batch["index"]
        maps = {"model": noise[rows] + mask[rows], "blind": noise[rows]}
        return Detected(mask[rows], maps, {name: found.max(axis=(1, 2)) for name, found in maps.items()})

    task = anomaly_task(NUM, SIZE, fetch, detect, ("model", "blind"))
    found = run_task(task, tmp_path)
    assert found["pixel_auroc"]["value"] == found["image_average_precision"]["value"] == 1
    assert abs(found["blind"]["pixel_auroc"]["value"] - 0.5) < 0.2
    numbers = dict(flatten(found))
    assert len(task.columns) == 8 and all(column.path in numbers for column in task.columns)


def test_the_spread_of_an_ensemble_is_where_its_majority_errs(tmp_path):
    truth = RNG.random((NUM, 8, 8)) < 0.3
    sure = np.where(truth, 0.9, 0.05)
    doubt = np.zeros_like(truth)
    doubt[:, 2] = True
    agreement = np.where(doubt, np.where(truth, 0.4, 0.6), sure)  # wrong, and nearly a tie

    def segment(batch):
        rows = batch["index"]
        return Segmented(truth[rows], agreement[rows], {"none": np.zeros_like(truth[rows])})

    found = run_task(segmentation_task(NUM, SIZE, fetch, segment, ("none",)), tmp_path)
    majority = truth ^ doubt
    np.testing.assert_allclose(found["dice"]["value"], dice(majority, truth).mean())
    assert found["spread_auroc"]["value"] == 1 and found["none"]["dice"]["value"] == 0
    assert (dice(truth, truth) == 1).all() and (dice(truth & False, truth & False) == 1).all()
    each = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(majority, truth, strict=True)]
    np.testing.assert_allclose(dice(majority, truth), each)
    assert spread(np.array([0.0, 0.5, 1.0])).tolist() == [0, 0.5, 0]
