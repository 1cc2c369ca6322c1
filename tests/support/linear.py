"""Score matching on a linear score function, whose loss compiles in a moment."""

from sde import times
from sde.vp import VP
from training.objectives.score_matching import independent, score_matching


def linear_score_of(params, batch, dropout_key):
    return lambda x, t: -params["a"] * x


def make_linear_loss(sde=VP()):  # noqa: B008  frozen
    return score_matching(
        linear_score_of, sde, lambda keys, batch: batch["x"], independent(times.uniform(1e-3)),
        reduce_mean=True,
    )  # fmt: skip
