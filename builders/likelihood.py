"""The likelihood of a config: dequantization, ODE or variational bound, and the units of the result."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from builders import data
from builders.learned import schedule
from builders.shape import data_shape
from core.arrays import Array
from core.keys import LikelihoodKey, draw_normal, fold_in
from core.tables import choose
from corruption.predictions import Predict
from likelihood import dequantize, variational
from likelihood.bound import of_levels, variational_bound
from likelihood.decoder import decode
from likelihood.divergence import DIVERGENCES, PROBES, Exact
from likelihood.levels import grid, levels_bound
from likelihood.ode import log_likelihood
from sde.base import SDE
from sde.flow import SOLVERS


class LogDensity(NamedTuple):
    """Log-density of dequantized data and its standard error (NaN if unknown), [B] in nats; function evaluations."""

    nats: Array
    standard_error_nats: Array
    num_evals: Array


# (learned parameters or None, keys [B], levels [B, ...]) -> x [B, ...], its log-density relative to uniform noise [B]
Dequantize = Callable[[Any, Array, Array], tuple[Array, Array]]
# (predict, keys [B], levels [B, ...], learned parameters of the dequantization or None) -> results by name
BitsPerDim = Callable[..., dict[str, Array]]
Measure = Callable[[Predict, Array, Array], LogDensity]  # (predict, keys [B], x [B, ...])


def bits_per_dim(config: ConfigDict, process: SDE, num_levels: int) -> BitsPerDim:
    """`(predict, keys [B], levels [B, ...], learned) -> {"bits_per_dim" [B], "logp_nats" [B], "num_evals"}`.

    `learned`: the result of `fit_dequantization`; may be left out if that is None. Floats have no levels (`num_levels`
    0) and therefore no bits: their result is "nats_per_dim" = -log p / D of the data in their own units, a density that
    depends on the units and may be negative.

    With method "levels" it is a bound on the log-probability of the levels themselves, without dequantization.
    "logp_nats" is the log of the model's average density in the cell of an image, or a lower bound of it. With several
    probes (for method "bound": times) of one dequantization there is also "probe_standard_error" [B], the uncertainty
    that is due to the probes.
    """
    settings, centered = config.eval, config.data.centered
    for key, table in CHOICES.items():
        choose(f"eval.{key}", settings[key], table)
    _check_divergence(config)
    if settings.bpd_method == "levels":
        return _levels(config, process, num_levels)
    dequantize_levels = dequantization(config, process, num_levels)
    measure = log_density(config, process)
    num = settings.num_dequantizations

    def sample(predict: Predict, keys: Array, levels: Array, learned: Any) -> tuple[LogDensity, Array]:
        x, log_ratio = dequantize_levels(learned, fold_in(keys, LikelihoodKey.DATA), levels)
        return measure(predict, keys, x), log_ratio

    def fn(predict: Predict, keys: Array, levels: Array, learned: Any = None) -> dict[str, Array]:
        num_dims = math.prod(levels.shape[1:])
        if num == 1:
            found, log_ratio = jax.tree.map(lambda a: a[None], sample(predict, keys, levels, learned))
        else:
            several = jnp.stack([keys, *(fold_in(fold_in(keys, LikelihoodKey.SAMPLES), k) for k in range(1, num))])
            found, log_ratio = jax.lax.map(lambda keys: sample(predict, keys, levels, learned), several)
        logp = dequantize.log_probability_nats(found.nats, log_ratio)
        if num_levels:
            figure, unit = dequantize.bits_per_dim(logp, num_dims, num_levels, centered=centered), math.log(2)
        else:
            figure, unit = -logp / num_dims, 1.0
        result = {quantity(num_levels): figure, "logp_nats": logp, "num_evals": jnp.sum(found.num_evals)}
        if num == 1 and _has_standard_error(config):
            result["probe_standard_error"] = found.standard_error_nats[0] / (num_dims * unit)
        return result

    return fn


def log_density(config: ConfigDict, process: SDE) -> Measure:
    """The log-density of x, as the network sees it, by the method `eval.bpd_method`; differentiable in x."""
    return choose("eval.bpd_method", config.eval.bpd_method, METHODS)(config, process)


def dequantization(config: ConfigDict, process: SDE, num_levels: int) -> Dequantize:
    """How likelihoods dequantize levels, whatever training does; floats (`num_levels` 0) are scaled."""
    make = choose("eval.dequantization", config.eval.dequantization, DEQUANTIZATIONS)
    return make(config, process, num_levels) if num_levels else _scaled_floats(config)


def quantity(num_levels: int) -> str:
    """The name of the likelihood in results and reports, by the number of levels of the data; 0: floats."""
    return "bits_per_dim" if num_levels else "nats_per_dim"


def fit_dequantization(config: ConfigDict, process: SDE, num_levels: int) -> Callable[..., Any]:
    """`(predict_of, weights, key, batches) -> learned`: fits the dequantization to a model; None for most.

    See `likelihood.variational.fit`. The result depends only on these arguments, on `eval` and on the SDE.
    """
    settings = config.eval
    if settings.dequantization != "variational" or not num_levels:
        return lambda predict_of, weights, key, batches: None
    flow, centered = variational.Flow(), config.data.centered
    loss = variational.make_loss(flow, process, num_levels, centered, eps=settings.bpd_eps)

    def fit(predict_of: Callable[[Any], Predict], weights: Any, key: Array, batches: Callable[[int], Array]) -> Any:
        return variational.fit(flow, loss, predict_of, weights, key, batches, num_steps=settings.dequantization_steps)

    return fit


def check_levels(config: ConfigDict, num_levels: int, setting: str) -> None:
    """Errors: ValueError where the data are not levels, or not without dequantization, or time is discrete."""
    if not num_levels or config.data.uniform_dequantization or not config.training.continuous:
        raise ValueError(
            f"config.{setting} bounds the probability of levels in continuous time, but the data have {num_levels} "
            f"levels, with config.data.uniform_dequantization = {config.data.uniform_dequantization} and "
            f"config.training.continuous = {config.training.continuous}; use data with levels, False and True."
        )


def ends(config: ConfigDict) -> Callable[[Any], tuple[Array, Array]] | None:
    """`params -> (first, last)`: the times between which a learned schedule is; None without one."""
    if config.training.noise_schedule is None or config.eval.bpd_method != "levels":
        return None
    return lambda params: schedule(config)(params, jnp.zeros(1))[2:]


def _levels(config: ConfigDict, process: SDE, num_levels: int) -> BitsPerDim:
    """The bound on the log-probability of levels, between the times that `learned` gives, or all of the SDE."""
    check_levels(config, num_levels, "eval.bpd_method = 'levels'")
    settings, centered = config.eval, config.data.centered
    if settings.dequantization != "uniform" or settings.num_dequantizations > 1 or settings.bpd_offset != "at_eps":
        raise ValueError(
            f"config.eval.bpd_method = 'levels' is without dequantization, but dequantization, num_dequantizations and "
            f"bpd_offset are {settings.dequantization!r}, {settings.num_dequantizations} and {settings.bpd_offset!r}; "
            "use 'uniform', 1 and 'at_eps'."
        )

    def fn(predict: Predict, keys: Array, levels: Array, learned: Any = None) -> dict[str, Array]:
        first, last = (jnp.asarray(settings.bpd_eps), jnp.ones(())) if learned is None else learned
        x0 = dequantize.scale(levels, num_levels, centered=centered)
        found = levels_bound(
            predict, process, x0, fold_in(keys, LikelihoodKey.PROBES), grid(num_levels, centered),
            first=first, last=last, num_times=settings.num_probes,
        )  # fmt: skip
        return of_levels(found, levels.shape, settings.num_probes)

    return fn


def _check_divergence(config: ConfigDict) -> None:
    """Errors: ValueError for a divergence that is too expensive for the data, or that has too few products."""
    settings = config.eval
    if settings.bpd_method != "ode":
        return
    num_dims, limit = math.prod(data_shape(config)), Exact().limit
    if settings.divergence == "exact" and num_dims > limit:
        raise ValueError(
            f"config.eval.divergence = 'exact' takes a product for each of the {num_dims} dimensions of an example, "
            f"more than {limit}; use 'hutchinson' or 'hutchpp' with several config.eval.num_probes."
        )
    if settings.divergence == "hutchpp" and settings.num_probes < 3:
        raise ValueError(
            f"config.eval.divergence = 'hutchpp' divides its products into three parts, but config.eval.num_probes = "
            f"{settings.num_probes}; use at least 3 (6 for a standard error), or 'hutchinson'."
        )


def _has_standard_error(config: ConfigDict) -> bool:
    settings = config.eval
    if settings.bpd_method == "ode" and settings.divergence != "hutchinson":
        return settings.divergence == "hutchpp" and settings.num_probes >= 6
    return settings.num_probes > 1


def _scaled_floats(config: ConfigDict) -> Dequantize:
    """Floats, scaled; the ratio of densities is |d levels / dx| = scale^D, so that the result is in the data's units.

    Errors: ValueError for settings that are only meaningful for levels.
    """
    settings = config.eval
    if settings.dequantization != "uniform" or settings.num_dequantizations > 1:
        raise ValueError(
            f"config.eval.dequantization = {settings.dequantization!r} with num_dequantizations = "
            f"{settings.num_dequantizations}, but the data are floats, which are not dequantized; use 'uniform' and 1."
        )
    offset, scale = data.affine(config, 0)
    return lambda learned, keys, x: (
        (x - offset) / scale,
        jnp.full(keys.shape, math.prod(x.shape[1:]) * math.log(scale)),
    )


def _uniform(config: ConfigDict, process: SDE, num_levels: int) -> Dequantize:
    centered = config.data.centered
    return lambda learned, keys, levels: (
        dequantize.uniform(keys, levels, num_levels, centered=centered),
        jnp.zeros(keys.shape),
    )


def _truncated_normal(config: ConfigDict, process: SDE, num_levels: int) -> Dequantize:
    settings, centered = config.eval, config.data.centered
    if settings.bpd_method == "bound" or settings.bpd_offset == "decoded":
        raise ValueError(
            "config.eval.dequantization = 'truncated_normal' samples at time bpd_eps, but config.eval.bpd_method "
            "= 'bound' and config.eval.bpd_offset = 'decoded' start from data; use 'ode' and 'at_eps', or 'uniform'."
        )

    def sample(learned: Any, keys: Array, levels: Array) -> tuple[Array, Array]:
        t = jnp.asarray(settings.bpd_eps)
        x, logq = dequantize.truncated_normal(
            keys, levels, num_levels, centered, mean_coeff=process.mean_coeff(t), std=process.std(t)
        )
        return x, logq - dequantize.uniform_logq_nats(math.prod(levels.shape[1:]), num_levels, centered)

    return sample


def _variational(config: ConfigDict, process: SDE, num_levels: int) -> Dequantize:
    flow, centered = variational.Flow(), config.data.centered
    if process.is_discrete:
        raise ValueError(
            "config.eval.dequantization = 'variational' is fitted to a bound in continuous time; "
            "use config.training.continuous = True, or 'uniform'."
        )
    if len(data_shape(config)) == 1:
        raise ValueError(
            "config.eval.dequantization = 'variational' is a convolutional flow, which vectors cannot have; "
            "use 'uniform' or 'truncated_normal'."
        )
    return lambda learned, keys, levels: variational.variational(flow, learned, keys, levels, num_levels, centered)


def _ode(config: ConfigDict, process: SDE) -> Measure:
    settings = config.eval
    make, decoded = DIVERGENCES[settings.divergence], OFFSETS[settings.bpd_offset]
    solver = {"eps": settings.bpd_eps, "rtol": settings.rtol, "atol": settings.atol, "solver": settings.ode_solver}

    def measure(predict: Predict, keys: Array, x: Array) -> LogDensity:
        divergence = make(settings.hutchinson, fold_in(keys, LikelihoodKey.PROBES), x.shape, settings.num_probes)
        if not decoded:
            found = log_likelihood(predict, process, x, divergence, **solver)
            return LogDensity(found.logp_nats, found.standard_error_nats, found.num_evals)
        z = draw_normal(fold_in(keys, LikelihoodKey.NOISE), x.shape)
        start, decoder = decode(predict, process, x, z, eps=settings.bpd_eps)
        found = log_likelihood(predict, process, start, divergence, **solver)
        return LogDensity(found.logp_nats + decoder, found.standard_error_nats, found.num_evals + 1)

    return measure


def _bound(config: ConfigDict, process: SDE) -> Measure:
    settings = config.eval
    if config.training.coupling != "independent":
        raise ValueError(
            f"config.eval.bpd_method = 'bound' needs noise that is independent of the data, but "
            f"config.training.coupling = {config.training.coupling!r}; use 'ode'."
        )
    if process.is_discrete:
        raise ValueError(
            "config.eval.bpd_method = 'bound' integrates over continuous time; use config.training.continuous = True."
        )

    def measure(predict: Predict, keys: Array, x: Array) -> LogDensity:
        found = variational_bound(
            predict, process, x, fold_in(keys, LikelihoodKey.PROBES),
            eps=settings.bpd_eps, num_times=settings.num_probes, decoded=OFFSETS[settings.bpd_offset],
        )  # fmt: skip
        return LogDensity(-found.nats, found.standard_error_nats, found.num_evals)

    return measure


OFFSETS: dict[str, bool] = {"at_eps": False, "decoded": True}
CHOICES: dict[str, dict] = {
    "divergence": DIVERGENCES,
    "hutchinson": PROBES,
    "bpd_offset": OFFSETS,
    "ode_solver": SOLVERS,
}
METHODS: dict[str, Callable[[ConfigDict, SDE], Measure]] = {"ode": _ode, "bound": _bound}
DEQUANTIZATIONS: dict[str, Callable[[ConfigDict, SDE, int], Dequantize]] = {
    "uniform": _uniform,
    "truncated_normal": _truncated_normal,
    "variational": _variational,
}
