"""Training a classifier of noisy data."""

from collections.abc import Callable

from sde.base import SDE, Array, draw_normal, fold
from training.losses import DATA, NOISE, TIME, Batch, DrawTimes, Params, PerExampleLoss, Prepare

# (params, labels [B], dropout key or None) -> ((x [B, ...], t [B]) -> ln p(label | x, t) [B])
ClassProbability = Callable[[Params, Array, Array | None], Callable[[Array, Array], Array]]


def make_cross_entropy(
    log_probability_of: ClassProbability, sde: SDE, prepare: Prepare, draw_times: DrawTimes
) -> PerExampleLoss:
    """`loss(params, keys [B], batch, dropout_key) -> [B]`: `-weight ln p(label | x_t, t)` in nats.

    x_t = mean_coeff(t) x0 + std(t) z; time and noise of an example come from its own key, as in score matching, and
    `weight` is that of the importance-sampled times. Source: Song et al. 2021, appendix I.1.
    """

    def loss(params: Params, keys: Array, batch: Batch, dropout_key: Array | None) -> Array:
        x0 = prepare(fold(keys, DATA), batch)
        t, weight = draw_times(fold(keys, TIME))
        x = sde.perturb(x0, t, draw_normal(fold(keys, NOISE), x0.shape))
        return -weight * log_probability_of(params, batch["label"], dropout_key)(x, t)

    return loss
