"""Denoising score matching."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import ExampleKey, draw_normal, fold_in
from corruption.gaussian import GaussianNoise
from corruption.predictions import Gaussian, Predict
from sde.base import SDE
from sde.times import Quantile
from training.objectives.base import Batch, Objective, Params, Prepare, Terms, Variables
from training.objectives.coupling import Couple

PredictOf = Callable[[Params, Batch, Array | None], Predict]  # (params, batch, dropout key or None) -> Predict
Augment = Callable[[Array, Array], tuple[Array, Array]]  # (keys [B], x0 [B, ...]) -> transformed x0, labels [B, D]
Weighting = Callable[[SDE, Array], Array]  # (sde, t [B]) -> weight [B] of || noise - z ||^2
LogLoss = Callable[[Params, SDE, Array], Array]  # (params, sde, t [B]) -> ln of the expected loss u [B]
SampleTimes = Callable[[Array], tuple[Array, Array]]  # keys [B] -> times [B], importance weights [B]


def variance(sde: SDE, t: Array) -> Array:
    """1: the mean squared error of the predicted noise. Source: Song et al. 2021, section 3.3."""
    return jnp.ones_like(t)


def likelihood(sde: SDE, t: Array) -> Array:
    """diffusion(t)^2 / std(t)^2: the loss bounds the likelihood. Source: Song et al., NeurIPS 2021, theorem 1."""
    return (sde.diffusion(t) / sde.std(t)) ** 2


def edm(sigma_data: float) -> Weighting:
    """EDM's weighting, (sigma^2 + s^2) / s^2 with sigma = std / mean_coeff and s = sigma_data; for s = 1, that of v.

    EDM weights the error of the posterior mean by 1 / c_out^2, which is this weight for the error of the noise.
    Source: Karras et al., NeurIPS 2022, table 1; Salimans and Ho, ICLR 2022, section 4 ("SNR + 1").
    """
    return lambda sde, t: 1 + (sde.std(t) / (sde.mean_coeff(t) * sigma_data)) ** 2


def flow(sde: SDE, t: Array) -> Array:
    """((mean_coeff + std) / mean_coeff)^2: the mean squared error of the velocity z - x0 (flow matching).

    Source: Lipman et al., ICLR 2023, equation 14, for the error of the noise: at a known x it is that of the velocity
    times mean_coeff / (mean_coeff + std).
    """
    return (1 + sde.std(t) / sde.mean_coeff(t)) ** 2


def denoising_score_matching(
    predict: Predict,
    sde: SDE,
    x0: Array,
    t: Array,
    z: Array,
    *,
    weighting: Weighting = variance,
    reduce_mean: bool,
    known: Array | None = None,
) -> Array:
    """The loss of each example, [B]: `weight(t) || noise(x_t, t) - z ||^2` at x_t = mean_coeff(t) x0 + std(t) z.

    Data `x0` [B, ...], times `t` [B], Gaussian noise `z` [B, ...]. The squared norm is a mean over dimensions
    (`reduce_mean`) or half their sum, in either case over those that are `known` [B, ...], by default all.
    Source: Song et al. 2021, equation 7, with noise = -std score.
    """
    error = GaussianNoise(sde).error(predict(sde.perturb(x0, t, z), t), Gaussian(x0, z), t)
    return over_dimensions(broadcast_to_rank(weighting(sde, t), x0) * error**2, known, reduce_mean=reduce_mean)


def over_dimensions(squares: Array, known: Array | None, *, reduce_mean: bool) -> Array:
    """The mean over dimensions (`reduce_mean`) of squares [B, ...], or half their sum, of those that are known: [B]."""
    axes = tuple(range(1, squares.ndim))
    if known is not None:
        squares = jnp.where(known, squares, 0.0)
        share = jnp.maximum(jnp.mean(known, axis=axes), 1 / squares[0].size)
        return jnp.mean(squares, axis=axes) / share if reduce_mean else 0.5 * jnp.sum(squares, axis=axes)
    return jnp.mean(squares, axis=axes) if reduce_mean else 0.5 * jnp.sum(squares, axis=axes)


def independent(quantile: Quantile) -> SampleTimes:
    """Independent times: that of an example depends only on its own key."""
    uniform = jax.vmap(lambda key: jax.random.uniform(key, ()))
    return lambda keys: quantile(uniform(keys))


def stratified(quantile: Quantile) -> SampleTimes:
    """Times stratified over the batch, u_i = (u_0 + i / B) mod 1, which reduces the variance of its mean loss.

    A single random number, from the key of the first example, determines all times.
    Source: Kingma et al., NeurIPS 2021, appendix I.1.
    """

    def sample_times(keys: Array) -> tuple[Array, Array]:
        return quantile((jax.random.uniform(keys[0], ()) + jnp.arange(len(keys)) / len(keys)) % 1.0)

    return sample_times


def score_matching(
    predict_of: PredictOf,
    sde: SDE,
    prepare: Prepare,
    sample_times: SampleTimes,
    *,
    weighting: Weighting = variance,
    reduce_mean: bool,
    augment: Augment | None = None,
    couple: Couple | None = None,
    uncertainty: LogLoss | None = None,
) -> Objective:
    """The objective with the loss "score_matching"; the time and noise of an example come from its own key.

    With a dropout key, which means training, examples are transformed by `augment`, and the network finds the
    labels of the transformations in `batch["augment"]`. Values that are missing, 0 in `batch["x_mask"]`, do not count.
    `couple` reorders the noise within the batch; an example then depends on the others. With `uncertainty` u the loss L
    of an example becomes `exp(-u) L + u`, and the mean of L, which can be compared between steps, is a metric.
    """

    def objective(variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        x0 = prepare(fold_in(keys, ExampleKey.DATA), batch)
        if augment is not None and dropout_key is not None:
            x0, labels = augment(fold_in(keys, ExampleKey.AUGMENT), x0)
            batch = {**batch, "augment": labels}
        t, weight = sample_times(fold_in(keys, ExampleKey.TIME))
        z = draw_normal(fold_in(keys, ExampleKey.NOISE), x0.shape)
        z = z if couple is None else couple(x0, z)
        predict = predict_of(variables["params"], batch, dropout_key)
        known = known_values(batch, x0)
        loss = denoising_score_matching(
            predict, sde, x0, t, z, weighting=weighting, reduce_mean=reduce_mean, known=known
        )
        if uncertainty is None:
            return Terms({"score_matching": weight * loss})
        u = uncertainty(variables["params"], sde, t)
        return Terms({"score_matching": weight * (jnp.exp(-u) * loss + u)}, {"plain_loss": jnp.mean(weight * loss)})

    return objective


def known_values(batch: Batch, x0: Array) -> Array | None:
    """Which values [B, ...] are not missing, by the mask of the batch; None without a mask."""
    if (mask := batch.get("x_mask")) is None:
        return None
    known = jnp.asarray(mask) != 0
    return jnp.broadcast_to(known.reshape(known.shape + (1,) * (x0.ndim - known.ndim)), x0.shape)
