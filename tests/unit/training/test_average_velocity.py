"""Average velocities: every rule at the exact one of a Gaussian, flow matching as a special case, times, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.few_steps import OBJECTIVES
from builders.inverse import posterior_sampler
from builders.network import initial_variables, make_network
from builders.objective import make_objective
from builders.sampler import make_sampler
from builders.score import make_predict_of
from configs import default, presets
from core.arrays import broadcast_to_rank
from core.keys import example_keys
from corruption.gaussian import GaussianNoise
from corruption.predictions import Gaussian
from sampling.few_steps import FewSteps, along_velocity, through_data
from sampling.loop import FixedStep
from sde import times
from sde.linear import Linear
from training.objectives.average_velocity import (
    Line,
    average_velocity,
    between,
    consistency,
    dyadic,
    halved,
    mean_flow,
    shortcut,
    to_data,
)
from training.objectives.base import constant, ramp
from training.objectives.score_matching import independent, stratified

MEAN, STD = np.array([[0.7, -0.2]]), np.array([[0.3, 1.4]])  # of data with independent coordinates
SDE, KEY, STEP = Linear(end=1e-12), jax.random.key(0), jnp.int32(7)


def std_at(t, std):
    return jnp.sqrt((1 - t) ** 2 * std**2 + t**2)


def flow_map(x, t, r, std=STD):
    """The ODE from t to r: the coordinates in units of the marginals stay."""
    t, r = (broadcast_to_rank(time, x) for time in (t, r))
    return (1 - r) * MEAN + std_at(r, std) / std_at(t, std) * (x - (1 - t) * MEAN)


def exact(x, t, r, std=STD):
    """(x_t - x_r) / (t - r), and the velocity, by its derivative, where r = t."""
    t_, r_ = (broadcast_to_rank(time, x) for time in (t, r))
    slope = ((t_ - (1 - t_) * std**2) / std_at(t_, std) ** 2) * (x - (1 - t_) * MEAN) - MEAN
    length = jnp.where(t_ > r_, t_ - r_, 1.0)
    return jnp.where(t_ > r_, (x - flow_map(x, t, r, std)) / length, slope)


def predict_exact(x, t, r=None):
    u = exact(x, t, t if r is None else r)
    t = broadcast_to_rank(t, x)
    return Gaussian(x - t * u, x + (1 - t) * u)


def lines(std=STD):
    """Points of the marginals at some times, with the velocity that is expected there."""
    t = jnp.array([0.1, 0.4, 0.75, 0.9, 1.0, 1.0])
    r = jnp.array([0.05, 0.0, 0.25, 0.9, 0.5, 0.0])
    x = flow_map(jax.random.normal(KEY, (6, 2)), jnp.ones(6), t, std)
    return Line(x, t, r, exact(x, t, t, std))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def residual(rule, line, std=STD):
    line, along = line._replace(along=None), line.along
    of = lambda line: rule(lambda x, t, r: exact(x, t, r, std), line._replace(along=along), STEP)  # noqa: E731
    value, target = jax.jit(of)(line)
    np.testing.assert_allclose(value, exact(line.x, line.t, line.r, std), rtol=1e-12, atol=1e-12)  # rounding
    return np.asarray(value - target)


@pytest.mark.parametrize(
    "rule",
    [
        mean_flow(improved=False, strength=constant(1.0)),
        mean_flow(improved=True, strength=constant(1.0)),
        shortcut(0.0),
    ],
    ids=["mean_flow", "improved", "shortcut"],
)
def test_the_target_is_the_exact_average_velocity_itself(rule):
    """u = v - (t - r) du/dt, and two halves of a step: to rounding, for intervals that are empty, too."""
    np.testing.assert_allclose(residual(rule, lines()), 0, atol=1e-10)


def test_the_target_of_consistency_becomes_that_in_continuous_time_as_the_gap_closes():
    """By the first order in the gap; for a single example, whose lines are the ODE, there is no error at all."""
    line = lines()
    errors = [np.abs(residual(consistency(constant(gap)), line)).max() for gap in (1e-2, 5e-3)]
    assert 0 < errors[0] < 0.1 and errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    of_model = line._replace(along=lambda x, t: exact(x, t, t))  # both ends of the step: of the second order
    by_heun = [np.abs(residual(consistency(constant(gap)), of_model)).max() for gap in (1e-2, 5e-3)]
    assert by_heun[0] < 0.05 * errors[0] and by_heun[0] / by_heun[1] == pytest.approx(4, rel=0.05)
    x, t, _, v, _ = lines(std=0.0)
    one = Line(x, t, jnp.zeros(6), v)
    np.testing.assert_allclose(residual(consistency(constant(0.3)), one, std=0.0), 0, atol=1e-10)
    # For any network: (t u_t - s u_s) / (t - s) - v, and d(t u)/dt - v.
    wrong = lambda x, t, r: jnp.sin(3 * x) * (1 + t * r)[:, None] + t[:, None] ** 2  # noqa: E731
    to_zero = Line(line.x, line.t, jnp.zeros(6), line.v)
    targets = [
        r(wrong, to_zero, STEP)[1]
        for r in (consistency(constant(1e-6)), mean_flow(improved=False, strength=constant(1.0)))
    ]
    np.testing.assert_allclose(*targets, atol=1e-4)


def test_the_expected_target_of_examples_is_the_exact_average_velocity():
    """With z - x0 of examples, whose mean given x_t is the velocity: residuals are uncorrelated with functions of x."""
    N = 20_000
    x0, z = MEAN + STD * jax.random.normal(KEY, (N, 2)), jax.random.normal(jax.random.key(1), (N, 2))
    t, r = jnp.full(N, 0.6), jnp.full(N, 0.1)
    line = Line(SDE.perturb(x0, t, z), t, r, z - x0)
    error = residual(mean_flow(improved=False, strength=constant(1.0)), line)
    x = np.asarray(line.x)
    for feature in (np.ones_like(x), x, x**2):
        products = feature * error
        assert np.all(np.abs(products.mean(0)) < 4 * products.std(0) / np.sqrt(N))


def test_strength_and_gap_follow_their_schedules():
    line, u = lines(), lambda x, t, r: exact(x, t, r)
    half = mean_flow(improved=False, strength=ramp(0.0, 1.0, 0, 14))(u, line, STEP)[1]
    whole = mean_flow(improved=False, strength=constant(1.0))(u, line, STEP)[1]
    np.testing.assert_allclose(half, (line.v + whole) / 2, atol=1e-12)
    gaps = [float(halved(1.0, 0.2, 100)(jnp.int32(step))) for step in (0, 99, 100, 250, 1000)]
    assert gaps == [1.0, 1.0, 0.5, 0.25, 0.2]


def objective_of(interval, rule, **options):
    predict_of = lambda params, batch, key: predict_exact  # noqa: E731
    return average_velocity(
        predict_of, SDE, lambda keys, batch: batch["x"], interval, rule, reduce_mean=True, **options
    )


def test_the_loss_of_a_distilled_exact_model_is_zero_and_of_examples_their_variance():
    x0 = MEAN + STD * jax.random.normal(KEY, (64, 2))
    given = {"params": {}}, example_keys(KEY, 64), {"x": x0}, None, STEP
    uniform = independent(times.uniform(1e-3))
    rule, apart = mean_flow(improved=False, strength=constant(1.0)), between(uniform, uniform, 0.0)
    distilled = objective_of(apart, rule, own_velocity=True)(*given).losses["average_velocity"]
    np.testing.assert_allclose(distilled, 0, atol=1e-18)
    plain, norms = (objective_of(apart, rule, power=p)(*given).losses["average_velocity"] for p in (0.0, 0.5))
    assert np.all(plain > 1e-6)
    np.testing.assert_allclose(norms, plain / np.sqrt(plain + 1e-3), rtol=1e-12)


def test_times_are_in_order_and_intervals_are_empty_as_often_as_asked():
    keys, uniform = example_keys(KEY, 4096), times.uniform(1e-3)
    for sample in (between(stratified(uniform), independent(uniform), 0.25), to_data(independent(uniform), 0.25)):
        t, r, weight = sample(keys)
        assert np.all(r <= t) and np.all(t <= 1) and np.all(weight == 1)
        assert abs(np.mean(r == t) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4096)
    both = between(stratified(uniform), independent(uniform), 0.0)(keys)
    assert abs(np.mean(both.t - both.r) - 1 / 3) < 4 * np.sqrt(1 / 18 / 4096)  # of two independent uniform times
    t, r, _ = dyadic(independent(uniform), 0.0, 3)(keys)
    found = {(float(a), float(b)) for a, b in zip(t, r, strict=True)}
    assert found == {((k + 1) / n, k / n) for n in (1, 2, 4) for k in range(n)}
    assert np.bincount(np.rint(1 / np.asarray(t - r)).astype(int))[[1, 2, 4]] == pytest.approx([1365] * 3, abs=130)


def test_any_number_of_steps_is_exact_with_the_exact_average_velocity():
    x = jax.random.normal(KEY, (4096, 2))
    for num in (1, 2, 8):
        grid = tuple(np.linspace(1, 0, num + 1))
        sampler = lambda step: FixedStep(GaussianNoise(SDE), FewSteps(SDE, step), grid, denoise=False)  # noqa: B023, E731
        found = sampler(along_velocity)(KEY, predict_exact, x.shape, start=(x, 1.0))
        np.testing.assert_allclose(found.x, flow_map(x, jnp.ones(4096), jnp.zeros(4096)), atol=1e-9)
        other = sampler(through_data)(KEY, predict_exact, x.shape, start=(x, 1.0))
        assert int(found.num_evals) == int(other.num_evals) == num
        # 4,096 numbers: std / 64 for the mean, std / 90 for the deviation, four times that.
        x0 = np.asarray(other.x)
        assert np.all(np.abs(x0.mean(0) - MEAN) < STD / 16) and np.all(np.abs(x0.std(0) - STD) < STD / 22)
        if num == 1:
            np.testing.assert_allclose(other.x, found.x, atol=1e-12)


def config_of(objective="mean_flow", **training):
    config = default.get_config()
    presets.mlp(config)
    config.data.shape = (2,)
    config.model.update(nf=8, num_res_blocks=1, dropout=0.1)
    presets.flow(config)
    presets.few_steps(config, objective)
    config.training.update(**training)
    return config


def test_without_intervals_every_objective_is_flow_matching_to_the_last_digits():
    """Also with dropout, and after a start from a network without a second time: an empty interval keeps its output."""
    plain = config_of("score_matching")
    plain.model.second_time = False
    configs = [config_of(name, flow_share=1.0, error_power=0.0) for name in OBJECTIVES]
    random = lambda tree: jax.tree.map(lambda leaf: jax.random.normal(KEY, leaf.shape, leaf.dtype), tree)  # noqa: E731
    before, more = (random(jax.eval_shape(lambda: initial_variables(c, KEY))["params"]) for c in (plain, configs[0]))  # noqa: B023
    assert more.keys() - before.keys() == {"interval", "interval_out"}

    @jax.jit
    def losses(before, params):
        given = example_keys(KEY, 32), {"x": jax.random.normal(KEY, (32, 2), jnp.float32)}, jax.random.key(5), STEP
        expected = make_objective(plain, 0)({"params": before}, *given).losses["score_matching"]
        found = [make_objective(c, 0)({"params": params}, *given).losses["average_velocity"] for c in configs]
        return expected, jnp.stack(found)

    expected, found = losses(before, more | before)
    np.testing.assert_allclose(found, np.tile(expected, (5, 1)), rtol=2e-4)  # of x0 and noise, in float32


def test_the_velocity_can_be_guided_while_it_is_trained():
    """v = 3 (z - x0) - 2 u(x, t, t) without a class: the error is 3 (u - v) where the class is none."""

    def loss(scale):
        config = config_of(flow_share=1.0, error_power=0.0, train_guidance=scale)
        config.model.update(num_labels=4, dropout=0.0)
        batch = {"x": jax.random.normal(KEY, (8, 2), jnp.float32), "label": jnp.full(8, 4)}  # none
        variables = jax.tree.map(
            lambda leaf: jnp.full(leaf.shape, 0.1, leaf.dtype), jax.eval_shape(lambda: initial_variables(config, KEY))
        )
        return make_objective(config, 0)(variables, example_keys(KEY, 8), batch, None, STEP).losses["average_velocity"]

    one, three = jax.jit(lambda: (loss(1.0), loss(3.0)))()
    np.testing.assert_allclose(three, 9 * one, rtol=1e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda c: c.training.update(objective="mean_flows"), "nearest: mean_flow"),
        (lambda c: c.model.update(second_time=False), "need config.model.second_time = True"),
        (lambda c: c.training.update(sde="vpsde"), "straight line.*use 'linear'"),
        (lambda c: c.training.update(train_guidance=2.0), "model.num_labels and model.label_dropout"),
        (lambda c: c.sampling.update(guidance="classifier"), "changes the score.*'classifier_free'"),
        (
            lambda c: c.training.update(objective="consistency", velocity="example", flow_share=0.0),
            "method = 'average_velocity'.*to the data alone; use 'consistency'",
        ),
        (
            lambda c: (
                c.training.update(coupling="optimal_transport"),
                c.sampling.update(method="consistency", num_steps=2),
            ),
            "leaves no score.*instead of consistency, 2 steps",
        ),
        (lambda c: c.restore.update(method="dps"), "averages between two; use restore.method = 'projection'"),
        (lambda c: c.training.update(uncertainty=True), "weights score matching by time"),
        (lambda c: c.model.update(name="tests.support.own_networks:Untaught"), "forward-mode.*use 'consistency' or"),
    ],
)
def test_what_cannot_be_trained_or_sampled_is_refused(build, message):
    config = config_of()
    build(config)
    with pytest.raises(ValueError, match=message):
        make_objective(config, 0)
        posterior_sampler(config, SDE, make_sampler(config), 0.25, 2.0, "inpaint")


def test_dropout_attention_and_rematerialization_have_forward_mode_derivatives():
    """Against a difference of the same network, with the same dropout; the loss can be differentiated by parameters."""
    config = default.get_config()
    config.data.shape = (4, 2)
    config.model.update(name="dit", nf=4, num_res_blocks=1, num_heads=2, dropout=0.3, remat=True, qk_norm=True)
    presets.flow(config)
    presets.few_steps(config, "mean_flow")
    template = jax.eval_shape(lambda: initial_variables(config, KEY)["params"])
    leaves, tree = jax.tree.flatten(template)
    rng = np.random.default_rng(0)
    params = tree.unflatten([jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves])
    assert make_network(config).remat
    x, dx, t = *rng.normal(size=(2, 3, 4, 2)), np.array([0.3, 0.5, 0.9])

    @jax.jit
    def u(params, x, t):
        x0, noise = make_predict_of(config)(params, {}, jax.random.key(2))(x, t, jnp.array([0.1, 0.5, 0.0]))
        return noise - x0

    def loss(params):
        value, slope = jax.jvp(lambda x, t: u(params, x, t), (x, t), (dx, jnp.ones(3)))
        return jnp.sum((value + jax.lax.stop_gradient(slope)) ** 2), slope

    h, (_, slope) = 1e-4, jax.jit(loss)(params)
    difference = (u(params, x + h * dx, t + h) - u(params, x - h * dx, t - h)) / (2 * h)
    np.testing.assert_allclose(slope, difference, atol=2e-2 * float(jnp.abs(slope).max()))  # layers in float32
    jax.jit(jax.grad(loss, has_aux=True)).lower(params)  # which fails where a derivative does not exist
