"""Score matching on a linear score, whose loss compiles in a moment."""

from corruption.predictions import from_score
from sde import times
from sde.vp import VP
from training.objectives.score_matching import independent, score_matching


def make_linear_loss(sde=VP()):  # noqa: B008  frozen
    def predict_of(params, batch, dropout_key):
        return from_score(lambda x, t: -params["a"] * x, sde)

    return score_matching(
        predict_of, sde, lambda keys, batch: batch["x"], independent(times.uniform(1e-3)),
        reduce_mean=True,
    )  # fmt: skip
