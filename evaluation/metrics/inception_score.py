"""The Inception score of class probabilities."""

import itertools

import numpy as np
from scipy.special import log_softmax, logsumexp

from evaluation.metrics.base import Inputs, Metric, column
from reports.records import Estimate


def inception_score(logits: np.ndarray, *, num_splits: int = 10, seed: int = 2020) -> Estimate:
    """How confident a classifier is of each sample and how much its classes vary; mean over splits of the samples.

        IS = exp( mean_x KL(p(y | x) || p(y)) ),   p(y) the mean of p(y | x) over the split

    logits: [N, K]. They are permuted, from `seed` as in torch-fidelity, before they are split; the error is the
    standard deviation over splits, as published. Errors: ValueError for another shape, and fewer samples than splits.
    Source: Salimans et al., "Improved Techniques for Training GANs", 2016, section 4.
    """
    if logits.ndim != 2 or num_splits < 1 or len(logits) < num_splits:
        raise ValueError(
            f"the Inception score of logits {logits.shape} in {num_splits} splits was requested; give [N, K] with at "
            "least one sample in each split"
        )
    num, num_classes = logits.shape
    order = np.random.RandomState(seed).permutation(num)
    bounds = [i * num // num_splits for i in range(num_splits + 1)]
    scores = np.array([_score(logits[order[a:b]]) for a, b in itertools.pairwise(bounds)])
    warning, remedy = "", ""
    if num // num_splits < num_classes:
        warning = (
            f"the Inception score has {num // num_splits} samples in each split for {num_classes} classes: it is too "
            "small"
        )
        remedy = f"generate at least {num_splits * num_classes} samples"
    deviation, source = float(scores.std()), f"standard deviation over {num_splits} splits"
    details = {"standard_deviation": deviation}
    return Estimate(float(scores.mean()), deviation, source, num, 0, warning, remedy, details)


def _score(logits: np.ndarray) -> float:
    """The score of one split, [n, K], in double precision."""
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    log_q = logsumexp(log_p, axis=0) - np.log(len(log_p))
    divergence = (np.exp(log_p) * (log_p - log_q[None, :])).sum(1)
    return float(np.exp(divergence.mean()))


def _inception_score(given: Inputs) -> dict[str, Estimate]:
    num_splits = min(10, len(given.samples["logits"]))
    return {"inception_score": inception_score(given.samples["logits"], num_splits=num_splits)}


INCEPTION_SCORE = Metric(_inception_score, ("logits",), 1, column("IS", "higher"))
