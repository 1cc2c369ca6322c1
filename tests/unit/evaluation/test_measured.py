"""The task of metrics that need predictions beside the truth: every example counts once, columns show the result."""

import numpy as np
import pytest

from evaluation.metrics.table import METRICS, measure
from evaluation.rounds import Worker, run_task
from evaluation.tasks.measured import measured_task
from reports.records import flatten

RNG = np.random.default_rng(0)
NUM, SIZE = 11, 4
LOGITS, LABELS = RNG.normal(size=(NUM, 3)), RNG.integers(0, 3, NUM)
X = RNG.random((NUM, 12, 12, 1))


def fetch(round_number):
    position = np.arange(round_number * SIZE, (round_number + 1) * SIZE)
    index = np.minimum(position, NUM - 1)
    return {"x": X[index], "label": LABELS[index], "index": index, "counted": (position < NUM).astype(np.float32)}


PREDICTIONS = {
    ("accuracy",): lambda batch: {"logits": LOGITS[batch["index"]], "labels": batch["label"]},
    ("psnr", "ssim"): lambda batch: {"prediction": batch["x"] ** 2, "truth": batch["x"]},
    ("crps",): lambda batch: {"ensemble": np.stack([batch["x"], batch["x"] ** 2], 1), "truth": batch["x"] ** 3},
    ("auroc",): lambda batch: {"scores": batch["x"] ** 2, "mask": batch["x"] > 0.5},
}


@pytest.mark.parametrize("metrics", PREDICTIONS, ids="-".join)
def test_every_example_counts_once_for_any_number_of_workers(tmp_path, metrics):
    task = measured_task("quality", NUM, SIZE, fetch, PREDICTIONS[metrics], metrics)
    summary = run_task(task, tmp_path)
    assert list(summary) == list(metrics) and run_task(task, tmp_path, Worker(1, 2)) == summary
    assert all(summary[name]["num_examples"] == NUM for name in metrics)
    numbers = dict(flatten(summary))
    for column, name in zip(task.columns, metrics, strict=True):
        assert column.heading == METRICS[name].column.heading
        assert numbers[column.path] == summary[name]["value"] and numbers[column.error] == summary[name]["error"]


def test_the_accuracy_is_that_of_all_examples_together(tmp_path):
    task = measured_task("accuracy", NUM, SIZE, fetch, PREDICTIONS[("accuracy",)], ("accuracy",))
    expected = measure({"logits": LOGITS}, labels=LABELS, names=["accuracy"])["accuracy"].to_dict()
    assert run_task(task, tmp_path) == {"accuracy": expected}


def test_a_metric_that_lacks_its_input_is_named(tmp_path):
    task = measured_task("quality", NUM, SIZE, fetch, PREDICTIONS[("auroc",)], ("psnr",))
    with pytest.raises(ValueError, match="metric psnr needs predictions and the truth of the same examples"):
        run_task(task, tmp_path)
