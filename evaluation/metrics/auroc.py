"""How well scores separate what is to be found from the rest: the area under the receiver operating characteristic."""

from collections.abc import Callable

import numpy as np

from evaluation.metrics.base import Inputs, Metric, column
from reports.records import Estimate

NUM_GROUPS = 20  # of examples, one left out at a time


def auroc(scores: np.ndarray, mask: np.ndarray) -> Estimate:
    """The probability that a score inside the mask is higher than one outside, ties counting half.

        AUROC = (sum of ranks inside - n (n + 1) / 2) / (n m),   n inside, m outside

    scores, mask: [N] of examples or [N, ...] of their pixels. The error bar is that of a jackknife over groups of
    examples, since the pixels of one are not independent. Errors: ValueError for shapes that do not fit, and for a
    mask that is the same everywhere. Source: Hanley and McNeil, "The Meaning and Use of the Area under a ROC Curve",
    1982.
    """
    return jackknifed("AUROC", _area, scores, mask)


def jackknifed(
    name: str, measure: Callable[[np.ndarray, np.ndarray], float], scores: np.ndarray, mask: np.ndarray
) -> Estimate:
    """`measure(scores, mask)` with the error bar of a jackknife over groups of examples.

    Errors: ValueError for shapes that do not fit, and for a mask that is the same everywhere.
    """
    if scores.shape != mask.shape or mask.dtype != bool:
        raise ValueError(f"scores {scores.shape} and a mask {mask.dtype} {mask.shape} were given; give one shape, bool")
    if mask.all() or not mask.any():
        raise ValueError(
            f"the mask is {bool(mask.any())} everywhere; {name} needs both what is to be found and the rest"
        )
    num_groups = min(NUM_GROUPS, len(scores))
    group = np.arange(len(scores)) % num_groups
    without = np.array([measure(scores[group != g], mask[group != g]) for g in range(num_groups)])
    error = float(np.sqrt((num_groups - 1) * np.var(without))) if num_groups > 2 else float("nan")
    source = f"jackknife over {num_groups} groups of examples" if np.isfinite(error) else "none"
    return Estimate(measure(scores, mask), error, source, 0, 0, details={"num_examples": len(scores)})


def _area(scores: np.ndarray, mask: np.ndarray) -> float:
    """The area; NaN without anything inside or outside the mask."""
    from scipy.stats import rankdata  # slow to import

    inside, outside = int(mask.sum()), int((~mask).sum())
    if not inside or not outside:
        return float("nan")
    ranks = rankdata(scores.ravel())[mask.ravel()].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


def _auroc(given: Inputs) -> dict[str, Estimate]:
    assert given.masks is not None
    return {"auroc": auroc(*given.masks)}


AUROC = Metric(_auroc, ("masks",), 2, column("AUROC", "higher"))
