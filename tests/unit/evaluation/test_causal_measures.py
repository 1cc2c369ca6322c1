"""Disentanglement of known codes, and what the causal tasks make of figures."""

import numpy as np
import pytest

from evaluation.metrics.dci import dci
from evaluation.tasks.counterfactual import Compared, counterfactual_task
from evaluation.tasks.disentanglement import Represented, disentanglement_task
from evaluation.tasks.strength import strength_task

FACTORS = np.random.default_rng(0).uniform(size=(200, 3))


def fetch(turn):
    index = np.arange(4 * turn, 4 * turn + 4)
    return {"index": index, "counted": index < 6}


def test_codes_that_are_factors_are_disentangled_and_rotations_are_not():
    order = np.exp(FACTORS[:, [2, 0, 1]])
    found = dci(order, FACTORS)
    assert min(found.disentanglement, found.completeness) > 0.97 and found.informativeness.min() > 0.95
    assert np.argmax(found.importance, axis=0).tolist() == [1, 2, 0]
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    mixed = dci(FACTORS @ rotation, FACTORS)
    assert mixed.disentanglement < 0.7 and mixed.completeness < 0.7
    twice = dci(np.concatenate([FACTORS, FACTORS], axis=1), FACTORS)
    assert twice.disentanglement > 0.97 > twice.completeness
    with pytest.raises(ValueError, match="3 examples cannot be split"):
        dci(FACTORS[:3], FACTORS[:3])


def test_examples_without_all_labels_are_left_out():
    known = np.arange(200) % 5 > 0
    codes = np.where(known[:, None], FACTORS, np.nan)

    def batch(turn):
        index = np.arange(100 * turn, 100 * turn + 100)
        return {"index": index, "counted": np.ones(100)}

    task = disentanglement_task(
        200, 100, batch, lambda b: Represented(codes[b["index"]], FACTORS[b["index"]], known[b["index"]]), "abc"
    )
    found = task.summarize([task.run(0), task.run(1)])
    assert found["num_examples"] == 160 and found["disentanglement"] > 0.97 and found["explained"].keys() == set("abc")


def test_figures_are_means_over_examples_and_interventions_without_padding():
    def compare(batch):
        index = batch["index"].astype(float)
        figures = {
            ("a", "model", "effect"): index,
            ("b", "model", "effect"): index + 2,
            ("a", "none", "effect"): 0 * index,
        }
        figures["a", "model", "psnr"] = 30 + index
        return Compared(figures, {"null_psnr": index, "reversed_psnr": index + 1})

    task = counterfactual_task(6, 4, fetch, compare, ("a", "b"), ("model", "none"), ("effect", "psnr"))
    found = task.summarize([task.run(0), task.run(1)])
    assert found["effect"]["value"] == 3.5 and found["effect"]["num_examples"] == 6  # the mean of 0 ... 5, and 1
    assert found["psnr"]["value"] == 32.5 and found["none"] == {"effect": found["interventions"]["a"]["none"]["effect"]}
    assert found["interventions"]["b"]["model"]["effect"]["value"] == 4.5
    assert found["null_psnr"]["value"] == 2.5 and found["reversed_psnr"]["value"] == 3.5
    assert "PSNR / dB, none" in [column.heading for column in task.columns]


def test_a_strength_is_the_share_of_what_is_asked_for():
    def slopes(batch, strength):
        asked = 1.0 + batch["index"]
        return np.stack([strength * asked**2, asked**2], axis=1)

    task = strength_task(6, 4, fetch, slopes, (0.5, 2.0))
    found = task.summarize([task.run(0), task.run(1)])
    assert found["at_0_5"] == pytest.approx(0.5) and found["at_2"] == pytest.approx(2.0)
