"""Score matching on a linear score function, whose loss compiles in a moment."""

from sde import times
from sde.vp import VP
from training.objectives.score_matching import independent, make_per_example_loss


def linear_score_of(params, batch, dropout_key):
    return lambda x, t: -params["a"] * x


def make_linear_loss(sde=VP()):  # noqa: B008  frozen
    return make_per_example_loss(
        linear_score_of, sde, lambda keys, batch: batch["x"], independent(times.uniform(1e-3)),
        reduce_mean=True,
    )  # fmt: skip
