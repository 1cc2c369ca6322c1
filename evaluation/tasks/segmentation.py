"""The task that compares ensembles of segmentations with the truth, beside other methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.metrics.auroc import auroc
from evaluation.metrics.base import mean_over_examples
from evaluation.metrics.dice import dice
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Column

OTHER = "other_"  # and a method, in the files


class Segmented(NamedTuple):
    """The truth [B, *sides], bool; the share [B, *sides] of an ensemble that has a pixel in its mask; others' masks."""

    truth: np.ndarray
    agreement: np.ndarray
    others: Mapping[str, np.ndarray]


def spread(agreement: np.ndarray) -> np.ndarray:
    """The deviation `sqrt(p (1 - p))` of a pixel that a share p of the masks of an ensemble has."""
    return np.sqrt(agreement * (1 - agreement))


def segmentation_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    segment: Callable[[dict[str, Any]], Segmented],
    others: Sequence[str],
) -> Task:
    """Dice coefficients of the majority of an ensemble, and of each of the `others`, with standard errors.

    Also the AUROC with which the ensemble's spread says where its majority errs; none where it never does. The files
    keep the masks. Errors: ValueError if rounds do not belong to `num_examples` and `batch_size`.
    """

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        truth, agreement, rest = segment(batch)
        arrays = {"index": np.asarray(batch["index"]), "truth": truth, "agreement": agreement.astype(np.float32)}
        arrays |= {OTHER + name: rest[name] for name in others}
        return {key: values[counted] for key, values in arrays.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage("segmentation", joined["index"], num_examples)
        truth, agreement = joined["truth"], joined["agreement"]
        majority = agreement > 0.5
        wrong = majority != truth
        found: dict[str, Any] = {"dice": mean_over_examples(dice(majority, truth)).to_dict()}
        if wrong.any():
            found["spread_auroc"] = auroc(spread(agreement), wrong).to_dict()
        return found | {
            name: {"dice": mean_over_examples(dice(joined[OTHER + name], truth)).to_dict()} for name in others
        }

    columns = [Column("dice.value", "Dice", "higher", error="dice.error")]
    columns.append(Column("spread_auroc.value", "spread where it errs, AUROC", "higher", error="spread_auroc.error"))
    for name in others:
        columns.append(
            Column(f"{name}.dice.value", f"Dice, {name.replace('_', ' ')}", "higher", error=f"{name}.dice.error")
        )
    return Task("segmentation", -(-num_examples // batch_size), run, summarize, tuple(columns))
