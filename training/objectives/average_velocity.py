"""Average velocities u(x, t, r): training in which one call of a network takes a sample from t to any earlier time r.

    x_r = x_t - (t - r) u(x_t, t, r),     u(x, t, t) = E[z - x0 | x_t = x], the velocity of flow matching

All rules are one identity, that a step is as good as two, for a time s in between:

    (t - r) u(x_t, t, r) = (t - s) u(x_t, t, s) + (s - r) u(x_s, s, r),     x_s = x_t - (t - s) u(x_t, t, s)

Halves of the interval are shortcut models. For s -> t it is the derivative, u = v - (t - r) du/dt (mean flows), and
with r = 0 that of a consistency function x_t - t u(x_t, t, 0); consistency models take a step s < t, along the line of
the example. For r = t every rule is flow matching.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import ExampleKey, IntervalKey, draw_normal, fold_in
from corruption.predictions import PredictBetween
from sde.base import SDE
from training.objectives.base import Batch, Objective, Params, Prepare, Terms, Variables, Weight
from training.objectives.coupling import Couple
from training.objectives.score_matching import Augment, SampleTimes, known_values, over_dimensions

AverageVelocity = Callable[[Array, Array, Array], Array]  # (x [B, ...], t [B], r [B]) -> u [B, ...]
Velocity = Callable[[Array, Array], Array]  # (x [B, ...], t [B]) -> v [B, ...]
TeacherOf = Callable[[Variables, Batch], Velocity]  # (variables, with "frozen", batch) -> the velocity of the teacher
PredictBetweenOf = Callable[[Params, Batch, Array | None], PredictBetween]  # (params, batch, dropout key or None)


class Interval(NamedTuple):
    """Times r <= t of an example, the importance weight of both; each [B]."""

    t: Array
    r: Array
    weight: Array


class Line(NamedTuple):
    """A point x [B, ...] at time t [B] of the line from x0 to z, its velocity v, and the second time r [B].

    along: the velocity at other points, (x, t) -> v, where v is that of a model; None where lines are straight.
    """

    x: Array
    t: Array
    r: Array
    v: Array
    along: Velocity | None = None


SampleInterval = Callable[[Array], Interval]  # keys [B]
Rule = Callable[[AverageVelocity, Line, Array], tuple[Array, Array]]  # (u, line, step) -> u at the line, its target


def velocity(predict: PredictBetween) -> AverageVelocity:
    """`noise - x0` of a prediction."""

    def u(x: Array, t: Array, r: Array) -> Array:
        x0, noise = predict(x, t, r)
        return noise - x0

    return u


def mean_flow(*, improved: bool, strength: Weight) -> Rule:
    """The target v - strength (t - r) du/dt, with du/dt along (dx, dt, dr) = (v, 1, 0).

    improved: along u(x, t, t), the velocity that the network itself expects, instead of that of the example, which
    lowers the variance. strength: from 0 to 1 over the first steps of training, or 1. With r = 0 this is a consistency
    model in continuous time.
    Source: Geng et al., "Mean Flows for One-step Generative Modeling", NeurIPS 2025, equation 11; improved: Geng et
    al., "Improved Mean Flows", 2025; r = 0 and the warm-up: Lu and Song, "Simplifying, Stabilizing and Scaling
    Continuous-Time Consistency Models", ICLR 2025, equation 6 and section 4.
    """

    def rule(u: AverageVelocity, line: Line, step: Array) -> tuple[Array, Array]:
        x, t, r, v, _ = line
        direction = jax.lax.stop_gradient(u(x, t, t)) if improved else v
        value, slope = jax.jvp(lambda x, t: u(x, t, r), (x, t), (direction, jnp.ones_like(t)))
        return value, v - broadcast_to_rank(strength(step) * (t - r), x) * jax.lax.stop_gradient(slope)

    return rule


def consistency(gap: Weight) -> Rule:
    """The target v - (s - r) (u(x_t, t, r) - u(x_s, s, r)) / (t - s) with x_s = x_t - (t - s) v.

    s = t - gap(step) (t - r): a gap from 1, where the target is v, down to nearly 0, where it is that of `mean_flow`.
    v is the velocity of the line of the example; where it is that of a model, the mean of those at both ends of the
    step from t to s (Heun's method), whose error is of the second order in the gap.
    Source: Song et al., "Consistency Models", ICML 2023, equation 10 for x_t - t u; the curriculum: Geng et al.,
    "Consistency Models Made Easy", ICLR 2025, section 3.
    Notes: the squared error of u instead of a distance of samples, which is t / (t - s) times as far.
    """

    def rule(u: AverageVelocity, line: Line, step: Array) -> tuple[Array, Array]:
        x, t, r, v, along = line
        share = gap(step)
        length = share * (t - r)
        if along is not None:
            end = along(x - broadcast_to_rank(length, x) * v, t - length)
            v = jnp.where(broadcast_to_rank(t > r, x), 0.5 * (v + end), v)
        earlier = u(x - broadcast_to_rank(length, x) * v, t - length, r)
        value = u(x, t, r)
        return value, v - (1 / share - 1) * jax.lax.stop_gradient(value - earlier)

    return rule


def shortcut(shortest: float) -> Rule:
    """The target (u(x_t, t, s) + u(x_s, s, r)) / 2 with s halfway; v where the interval is empty.

    Halves not longer than `shortest` are steps with the velocity, u(x, t, t).
    Source: Frans et al., "One Step Diffusion via Shortcut Models", ICLR 2025, equation 5 and section 3.
    Notes: published targets come from the averaged parameters; here from those that are trained.
    """

    def rule(u: AverageVelocity, line: Line, step: Array) -> tuple[Array, Array]:
        x, t, r, v, _ = line
        half = 0.5 * (t - r)
        s = t - half
        is_short = half <= shortest * (1 + 1e-4)  # rounding of t - r
        first = u(x, t, jnp.where(is_short, t, s))
        second = u(x - broadcast_to_rank(half, x) * first, s, jnp.where(is_short, s, r))
        target = jnp.where(broadcast_to_rank(half > 0, x), 0.5 * (first + second), v)
        return u(x, t, r), jax.lax.stop_gradient(target)

    return rule


def between(times: SampleTimes, others: SampleTimes, share: float) -> SampleInterval:
    """Two times in their order; with the probability `share` the first one twice. `others`: independent ones."""

    def sample(keys: Array) -> Interval:
        first, weight = times(fold_in(keys, ExampleKey.TIME))
        second, other = others(_own(keys, IntervalKey.END))
        is_empty = _is_empty(keys, share)
        t, r = jnp.maximum(first, second), jnp.minimum(first, second)
        return Interval(
            jnp.where(is_empty, first, t), jnp.where(is_empty, first, r), jnp.where(is_empty, weight, weight * other)
        )

    return sample


def to_data(times: SampleTimes, share: float) -> SampleInterval:
    """From a time to the data, r = 0; with the probability `share` to itself."""

    def sample(keys: Array) -> Interval:
        t, weight = times(fold_in(keys, ExampleKey.TIME))
        return Interval(t, jnp.where(_is_empty(keys, share), t, 0.0), weight)

    return sample


def dyadic(times: SampleTimes, share: float, num_levels: int) -> SampleInterval:
    """Intervals of lengths 1, 1/2, ... 2^(1 - num_levels), from a multiple of that; with `share` from a time to itself.

    Source: Frans et al., ICLR 2025, section 3.
    """

    def sample(keys: Array) -> Interval:
        first, weight = times(fold_in(keys, ExampleKey.TIME))
        u = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(_own(keys, IntervalKey.END))
        count = 2.0 ** jnp.floor(u[:, 0] * num_levels)
        r = jnp.floor(u[:, 1] * count) / count
        is_empty = _is_empty(keys, share)
        t, r = jnp.where(is_empty, first, r + 1 / count), jnp.where(is_empty, first, r)
        return Interval(t, r, jnp.where(is_empty, weight, 1.0))

    return sample


def halved(first: float, last: float, num_steps: int) -> Weight:
    """`first`, halved every `num_steps` steps down to `last`: the gap of `consistency`."""
    return lambda step: jnp.maximum(first * 0.5 ** (step // num_steps), last)


def average_velocity(
    predict_of: PredictBetweenOf,
    sde: SDE,
    prepare: Prepare,
    sample_interval: SampleInterval,
    rule: Rule,
    *,
    reduce_mean: bool,
    power: float = 0.0,
    guidance_scale: float = 1.0,
    own_velocity: bool = False,
    teacher_of: TeacherOf | None = None,
    augment: Augment | None = None,
    couple: Couple | None = None,
) -> Objective:
    """The objective with the loss "average_velocity", `|u - target|^2 / (|u - target|^2 + 1e-3)^power`.

    The denominator, which is not differentiated, evens out examples: with power 1/2 the loss is about a norm.
    guidance_scale: w of the velocity w v + (1 - w) u(x, t, t) without a class, so that samples are guided by one call.
    own_velocity: where the interval is not empty, v is u(x, t, t) itself instead of that of the example, which removes
    the variance; for a start from a trained model, which is then distilled.
    teacher_of: v is the velocity of another model, everywhere, which does not change while this one learns from it.
    Times, noise, augmentation and missing values: as in `score_matching`.
    Metrics: `squared_error`, before the denominator. Source: Geng et al., NeurIPS 2025, equations 19, 22.
    """

    def objective(variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        x0 = prepare(fold_in(keys, ExampleKey.DATA), batch)
        if augment is not None and dropout_key is not None:
            x0, labels = augment(fold_in(keys, ExampleKey.AUGMENT), x0)
            batch = {**batch, "augment": labels}
        t, r, weight = sample_interval(keys)
        z = draw_normal(fold_in(keys, ExampleKey.NOISE), x0.shape)
        z = z if couple is None else couple(x0, z)
        x, v = sde.perturb(x0, t, z), z - x0
        u = velocity(predict_of(variables["params"], batch, dropout_key))
        if guidance_scale != 1:
            plain = {name: values for name, values in batch.items() if name != "label"}
            free = velocity(predict_of(variables["params"], plain, dropout_key))(x, t, t)
            v = guidance_scale * v + (1 - guidance_scale) * jax.lax.stop_gradient(free)
        along: Velocity | None = None
        if teacher_of is not None:
            along = teacher_of(variables, batch)
            v = along(x, t)
        elif own_velocity:
            along = _still(u)
            v = jnp.where(broadcast_to_rank(t > r, x), along(x, t), v)
        value, target = rule(u, Line(x, t, r, v, along), step)
        error = over_dimensions((value - target) ** 2, known_values(batch, x0), reduce_mean=reduce_mean)
        scale = jax.lax.stop_gradient(error + 1e-3) ** power
        return Terms({"average_velocity": weight * error / scale}, {"squared_error": jnp.mean(weight * error)})

    return objective


def _still(u: AverageVelocity) -> Velocity:
    """The velocity u(x, t, t), which is not differentiated."""
    return lambda x, t: jax.lax.stop_gradient(u(x, t, t))


def _own(keys: Array, purpose: IntervalKey) -> Array:
    return fold_in(fold_in(keys, ExampleKey.INTERVAL), purpose)


def _is_empty(keys: Array, share: float) -> Array:
    """Whether the interval of an example is empty, bool [B]."""
    return jax.vmap(lambda key: jax.random.uniform(key, ()))(_own(keys, IntervalKey.WHETHER)) < share
