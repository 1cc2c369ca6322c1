"""The cross-entropy of a classifier of noisy data."""

from collections.abc import Callable

from core.arrays import Array
from core.keys import ExampleKey, draw_normal, fold_in
from sde.base import SDE
from training.objectives.base import Batch, Objective, Params, Prepare, Terms, Variables
from training.objectives.score_matching import SampleTimes

# (params, labels [B], dropout key or None) -> ((x [B, ...], t [B]) -> ln p(label | x, t) [B])
ClassProbability = Callable[[Params, Array, Array | None], Callable[[Array, Array], Array]]


def cross_entropy(
    log_probability_of: ClassProbability, sde: SDE, prepare: Prepare, sample_times: SampleTimes
) -> Objective:
    """The objective with the loss "cross_entropy": `-weight ln p(label | x_t, t)` in nats.

    x_t = mean_coeff(t) x0 + std(t) z; the time and the noise z of an example come from its own key, as in score
    matching, and `weight` is the importance weight of its time. Source: Song et al. 2021, appendix I.1.
    """

    def objective(variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        x0 = prepare(fold_in(keys, ExampleKey.DATA), batch)
        t, weight = sample_times(fold_in(keys, ExampleKey.TIME))
        x = sde.perturb(x0, t, draw_normal(fold_in(keys, ExampleKey.NOISE), x0.shape))
        log_probability = log_probability_of(variables["params"], batch["label"], dropout_key)(x, t)
        return Terms({"cross_entropy": -weight * log_probability})

    return objective
