"""The evaluation segmentation: ensembles of masks that a model samples given an image, beside a pixelwise baseline."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from builders.condition import conditions
from core.keys import RunKey, fold_in, keys_at
from data.source import Examples
from evaluation.rounds import Task
from evaluation.tasks.segmentation import Segmented, segmentation_task
from systems.evaluations.reconstruction import first_of
from systems.requests.base import batch_size, in_batches
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its evaluations
    from systems.diffusion import Diffusion

BASELINE = "logistic_pixels"
NUM_TRAIN, NUM_PIXELS = 200, 20_000  # training examples, and pixels of them, that the baseline knows
REACH = 2  # it sees the square of 5 pixels around each


def segmentation(system: "Diffusion", number: int, variables: Variables | None) -> Task:
    """Masks of two levels given the fields of `model.conditions`. Errors: ValueError for data that do not fit."""
    config, settings, spec = system.config, system.config.eval, system.spec
    names = [c.name for c in conditions(config) if c.entry == "concat"]
    if spec.num_levels != 2 or len(names) != 1 or len(spec.shape) != 3:
        raise ValueError(
            "config.eval.tasks has segmentation, which is for images of two levels, conditioned on one image, as in "
            f"--config.model.conditions=\"('image:concat',)\", but {config.data.dataset} has examples of {spec.shape} "
            f"with {spec.num_levels} levels, and config.model.conditions = {tuple(config.model.conditions)}; leave it "
            "out."
        )
    image, S = names[0], settings.posterior_samples
    test = first_of(system.context.splits.test, settings.num_examples)
    baseline = functools.cache(lambda: _logistic(system, image))  # not where all rounds are done

    def segment(batch: dict[str, Any]) -> Segmented:
        assert variables is not None
        masks = ensemble(system, variables, number, {image: batch[image]}, S, np.asarray(batch["index"]))
        agreement = (masks > 0).mean(axis=1)[..., 0]
        return Segmented(np.asarray(batch["x"])[..., 0] > 0, agreement, {BASELINE: baseline()(batch[image])})

    return segmentation_task(*system.batches(test), segment, (BASELINE,))


def ensemble(
    system: "Diffusion", variables: Variables, number: int, given: Examples, num: int, index: np.ndarray
) -> np.ndarray:
    """`num` samples of each example [N, num, ...], in levels, given values of fields; index: as of `Posterior`."""
    N = len(index)
    key = fold_in(fold_in(system.key, RunKey.SAMPLE), number)

    def generate(rows: np.ndarray) -> dict[str, Any]:
        keys = jax.vmap(jax.random.fold_in)(keys_at(key, index[rows // num]), rows % num)
        keys, asked = system.devices.shard_rows((keys, {name: values[rows // num] for name, values in given.items()}))
        return system.generate(variables, keys, asked)

    found = in_batches(generate, N * num, batch_size(system, N * num))["samples"]
    return np.asarray(found).reshape(N, num, *system.spec.shape)


def _logistic(system: "Diffusion", image: str) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression of a pixel of the mask on the square of the image around it, of balanced classes.

    The threshold is the one with the best Dice coefficient for these pixels.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    train = system.context.splits.train
    batch = train.fetch(np.arange(min(len(train), NUM_TRAIN)))
    seen, truth = _squares(batch[image]), batch["x"].reshape(-1) > 0
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
