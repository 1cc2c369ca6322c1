"""The evaluation segmentation: ensembles of masks that a model samples given an image, beside a pixelwise baseline."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.rounds import Task
from evaluation.tasks.segmentation import Segmented, segmentation_task
from systems.evaluations.reconstruction import first_of
from systems.requests.segment import ensemble, image_of
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its evaluations
    from systems.diffusion import Diffusion

BASELINE = "logistic_pixels"
NUM_TRAIN, NUM_PIXELS = 200, 20_000  # training examples, and pixels of them, that the baseline knows
REACH = 2  # it sees the square of 5 pixels around each


def segmentation(system: "Diffusion", number: int, variables: Variables | None) -> Task:
    """Masks of two levels given the fields of `model.conditions`. Errors: ValueError for data that do not fit."""
    settings = system.config.eval
    image, S = image_of(system, "config.eval.tasks has segmentation, which").name, settings.posterior_samples
    test = first_of(system.context.splits.test, settings.num_examples)
    baseline = functools.cache(lambda: _logistic(system, image))  # not where all rounds are done

    def segment(batch: dict[str, Any]) -> Segmented:
        assert variables is not None
        masks = ensemble(system, variables, number, {image: batch[image]}, S, np.asarray(batch["index"]))
        agreement = (masks > 0).mean(axis=1)[..., 0]
        return Segmented(np.asarray(batch["x"])[..., 0] > 0, agreement, {BASELINE: baseline()(batch[image])})

    return segmentation_task(*system.batches(test), segment, (BASELINE,))


def _logistic(system: "Diffusion", image: str) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression of a pixel of the mask on the square of the image around it, of balanced classes.

    The threshold is the one with the best Dice coefficient for these pixels.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    train = system.context.splits.train
    batch = train.fetch(np.arange(min(len(train), NUM_TRAIN)))
    seen, truth = _squares(batch[image]), batch["x"].reshape(-1) > 0
    if truth.all() or not truth.any():  # nothing to tell apart
        return lambda x: np.full(x.shape[:3], bool(truth.any()))
    chosen = np.random.default_rng(0).permutation(len(truth))[:NUM_PIXELS]
    chosen = np.union1d(chosen, np.flatnonzero(truth))
    model = LogisticRegression(max_iter=300).fit(seen[chosen], truth[chosen])
    score = model.decision_function(seen)
    thresholds = np.quantile(score, np.linspace(0.5, 0.9995, 40))

    def quality(threshold: float) -> float:
        found = score > threshold
        return 2 * (found & truth).sum() / max(int(found.sum() + truth.sum()), 1)

    best = max(thresholds, key=quality)
    return lambda x: (model.decision_function(_squares(x)) > best).reshape(x.shape[:3])


def _squares(images: np.ndarray) -> np.ndarray:
    """The values around each pixel of images [N, H, W, C], from 0 to 1: [N H W, values], and their squares."""
    x = np.asarray(images, np.float32) / 255
    padded = np.pad(x, [(0, 0), (REACH, REACH), (REACH, REACH), (0, 0)], mode="edge")
    side = 2 * REACH + 1
    around = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    flat = around.reshape(-1, x.shape[-1] * side * side)
    return np.concatenate([flat, flat**2], axis=1)
