"""Whole networks, compiled: initial outputs, dropout, labels, ranks, bfloat16 and rematerialization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.network import example_inputs, make_network
from builders.objective import make_classifier_objective, make_objective
from builders.process import make_sde
from builders.score import log_class_probability
from models.blocks.conditioning import Embedding
from models.networks.mlp import MLP
from models.networks.ncsnpp import NCSNpp
from models.networks.ncsnv2 import NCSNv2
from tests.support.configs import load
from tests.support.networks import (
    RANK_SHAPES,
    RANKED,
    TIMES,
    TINIEST,
    TINY,
    VECTORS,
    abstract,
    config_of,
    image,
    params_of,
    random_params,
    shapes,
)
from training.objectives.base import make_loss_fn

SMALLEST = {"num_labels": 0, "ch_mult": (1,), "attn_resolutions": (8,)}


def test_refinenet_divides_by_the_level_or_by_the_noise_itself():
    x, levels, sigmas = image((2, 8, 8, 1)), jnp.array([0, 2]), (9.0, 3.0, 1.0)
    tabulated = NCSNv2(nf=2, num_channels=1, sigmas=sigmas)
    params = {"params": random_params(tabulated, x)}
    raw = jax.jit(tabulated.copy(scale_by_sigma=False).apply)(params, x, levels)
    np.testing.assert_allclose(jax.jit(tabulated.apply)(params, x, levels)[1], raw[1] / 1.0, rtol=1e-5)
    free = tabulated.copy(sigmas=None)
    y = jax.jit(free.apply)(params, x, jnp.array([9.0, 0.5]))
    np.testing.assert_allclose(y, raw / jnp.array([9.0, 0.5])[:, None, None, None], rtol=1e-5)  # fused in another order
    with pytest.raises(ValueError, match="scale_by_sigma needs `sigmas`"):
        jax.eval_shape(free.apply, params, x, levels)


def test_a_width_that_32_groups_do_not_divide_works():
    model = NCSNpp(**{**TINY, "nf": 48, "ch_mult": (1, 3)})
    x = image((1, 4, 8, 3))
    y = jax.jit(model.apply)({"params": random_params(model, x)}, x, jnp.array([3.0]))
    assert np.all(np.isfinite(y)) and float(jnp.std(y)) > 0


@pytest.mark.parametrize("progressive", ["none", "output_skip"])
def test_a_new_network_returns_almost_nothing(progressive):
    """The convolution to the image starts with variance 1e-10, whatever the features."""
    model = NCSNpp(**TINIEST, progressive=progressive)
    x, time = image((1, 4, 4, 3)), jnp.array([3.0])
    params = random_params(model, x)
    apply = jax.jit(model.apply)
    before = apply({"params": params}, x, time)
    last = jax.jit(lambda: model.init(jax.random.key(0), x, time)["params"]["Conv_1"])()  # only this one is computed
    after = apply({"params": {**params, "Conv_1": last}}, x, time)
    assert 0 < float(jnp.abs(after).max()) < 1e-3 < 0.1 < float(jnp.abs(before).max())


def test_dropout_needs_a_key_in_training_only():
    model = NCSNpp(**TINIEST, dropout=0.5)
    x, time = image((2, 4, 4, 3)), jnp.array([3.0, 700.0])
    params = {"params": random_params(model, x)}
    traces = []

    @jax.jit
    def evaluate(x, time):
        traces.append("evaluate")
        return model.apply(params, x, time)

    @jax.jit
    def train(x, time, key):
        traces.append("train")
        return model.apply(params, x, time, train=True, rngs={"dropout": key})

    keys = [jax.random.key(seed, impl="unsafe_rbg") for seed in (0, 1)]  # quick to compile
    plain, first, second = evaluate(x, time), train(x, time, keys[0]), train(x, time, keys[1])
    assert float(jnp.abs(first - plain).max()) > 1e-3 < float(jnp.abs(first - second).max())
    np.testing.assert_array_equal(first, train(x, time, keys[0]))
    with pytest.raises(Exception, match="dropout"):
        jax.eval_shape(lambda x, time: model.apply(params, x, time, train=True), x, time)
    evaluate(x + 1, time)
    assert sorted(traces) == ["evaluate", "train"]


def test_class_labels_change_the_output_and_add_one_table():
    plain, model = NCSNpp(**TINIEST), NCSNpp(**TINIEST | {"embedding": Embedding(num_classes=10)})
    x, time, cond = image((2, 4, 4, 3)), jnp.array([3.0, 3.0]), {"labels": jnp.array([1, 7])}
    params = random_params(model, x, cond)
    assert set(params) - set(abstract(plain, x)) == {"Embed_0"}
    apply = jax.jit(lambda cond: model.apply({"params": params}, jnp.stack([x[0], x[0]]), time, cond))
    y = apply(cond)
    assert float(jnp.abs(y[0] - y[1]).max()) > 1e-3
    np.testing.assert_allclose(apply({"labels": jnp.array([7, 1])}), y[::-1], rtol=1e-4, atol=1e-5)  # batch order only
    with pytest.raises(ValueError, match="num_classes = 10 needs cond"):
        abstract(model, x)


def test_bfloat16_is_close_to_float32():
    x, time = image((1, 4, 8, 3)), jnp.array([2.0])
    exact, coarse = NCSNpp(**TINIEST), NCSNpp(**TINIEST, dtype=jnp.bfloat16)
    params = {"params": random_params(exact, x)}
    y, z = jax.jit(exact.apply)(params, x, time), jax.jit(coarse.apply)(params, x, time)
    assert z.dtype == jnp.float32
    assert 1e-4 < float(jnp.linalg.norm(y - z) / jnp.linalg.norm(y)) < 0.05  # 0.4 % per operation, some dozens


@pytest.mark.parametrize("kind", ["series", "volumes"])
def test_a_new_network_of_another_rank_returns_almost_nothing_and_every_parameter_learns(kind):
    model, x = RANKED["ddpmpp"], image(RANK_SHAPES[kind])

    @jax.jit
    def outputs(params):
        value = lambda params: jnp.sum(model.apply({"params": params}, x, TIMES) ** 2)  # noqa: E731
        return model.apply({"params": params}, x, TIMES), jax.grad(value)(params)

    _, gradient = outputs(random_params(model, x))
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    with jax.default_prng_impl("unsafe_rbg"):
        new = jax.jit(lambda: model.init(jax.random.key(0), x, TIMES)["params"])()
    assert 0 < float(jnp.abs(outputs(new)[0]).max()) < 1e-3  # the last convolution starts with variance 1e-10


def test_a_series_is_an_image_of_one_row_and_an_image_a_volume_of_one_plane():
    """Outside the single row there are zeros, so that only the middle row of a 3x3 kernel matters."""
    model = NCSNpp(**{**TINIEST, "nf": 4, "attn_resolutions": (1, 8)}, num_channels=2)
    volume = image((2, 1, 1, 8, 2))
    params = random_params(model, volume)
    outputs = []
    for x in (volume, volume[:, 0], volume[:, 0, 0]):
        outputs.append(jax.jit(model.apply)({"params": params}, x, TIMES).reshape(volume.shape))
        middle = lambda leaf: leaf[leaf.shape[0] // 2] if leaf.ndim > 2 else leaf  # noqa: E731
        params = jax.tree.map(middle, params)
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], rtol=1e-4, atol=1e-5)  # sums in another order
    assert float(jnp.std(outputs[0])) > 0.01


@pytest.mark.parametrize("kind", ["mlp", "ncsnpp"])
def test_an_augmentation_enters_through_one_matrix_that_starts_at_zero(kind):
    plain = MLP(**VECTORS) if kind == "mlp" else NCSNpp(**TINIEST)
    model, x = plain.copy(embedding=Embedding(augment_dim=3)), image((2, 5) if kind == "mlp" else (2, 4, 4, 3))
    params = random_params(model, x)
    assert set(shapes(params)) - set(shapes(abstract(plain, x))) == {"['augment']['kernel']"}
    with jax.default_prng_impl("unsafe_rbg"):
        new = jax.jit(lambda: model.init(jax.random.key(0), x, TIMES)["params"]["augment"]["kernel"])()
    np.testing.assert_array_equal(new, 0)
    apply = jax.jit(lambda augment: model.apply({"params": params}, x, TIMES, {"augment": augment}))
    none = jax.jit(lambda: model.apply({"params": params}, x, TIMES))()
    np.testing.assert_allclose(apply(jnp.zeros((2, 3))), none, rtol=1e-5, atol=1e-6)  # compiled separately
    assert float(jnp.abs(apply(jnp.ones((2, 3))) - none).max()) > 1e-3
    with pytest.raises(ValueError, match="augment_dim = 3: give"):
        jax.eval_shape(apply, jax.ShapeDtypeStruct((2, 4), jnp.float32))


def loss_of(config):
    """The loss of a batch as a function of the parameters."""
    rng = np.random.default_rng(2)
    batch = {"x": rng.integers(0, 17, (16, 8, 8, 1)).astype(np.uint8), "label": np.zeros(16, np.int32)}
    loss_fn = make_loss_fn(make_objective(config, 17))
    return lambda params: loss_fn({"params": params}, jax.random.key(0), batch, jnp.int32(0))[0]


def gradients_of(config, params):
    """Loss and gradients of a batch."""
    loss, gradients = jax.jit(jax.value_and_grad(loss_of(config)))(params)
    return float(loss), gradients


def stored_for_the_gradient(config, params):
    """Bytes that the forward pass stores for the backward pass."""
    backward = jax.eval_shape(lambda params: jax.vjp(loss_of(config), params)[1], params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def distance(a, b):
    """|a - b| / |b|, of trees."""
    squares = [
        (float(jnp.sum((x - y) ** 2)), float(jnp.sum(y**2))) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    ]
    over, under = np.sum(squares, axis=0)
    return (over / under) ** 0.5


@pytest.fixture(scope="module")
def plain():
    config = config_of("ncsnpp", **SMALLEST)
    params = params_of(config)
    return params, *gradients_of(config, params)


def test_loss_and_gradients_in_bfloat16_agree_to_what_its_eight_bits_allow(plain):
    params, loss, gradients = plain
    given_loss, given = gradients_of(config_of("ncsnpp", **SMALLEST, dtype="bfloat16"), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(given)} == {jnp.dtype(jnp.float32)}
    # 0.4 % per rounding, some twenty in sequence; in a mean over 4,096 pixels they cancel.
    assert given_loss == pytest.approx(loss, rel=0.005) and given_loss != loss
    assert distance(given, gradients) < 0.05


def test_rematerialized_blocks_give_the_same_gradients_and_store_only_their_inputs(plain):
    params, loss, gradients = plain
    remat = config_of("ncsnpp", **SMALLEST, remat=True)
    given_loss, given = gradients_of(remat, params)
    # The same arithmetic with the same dropout, which XLA may fuse differently.
    assert given_loss == pytest.approx(loss, rel=1e-6) and distance(given, gradients) < 1e-5
    config = config_of("ncsnpp", **SMALLEST)
    assert stored_for_the_gradient(remat, params) < 0.4 * stored_for_the_gradient(config, params)


def test_the_loss_of_a_classifier_is_the_cross_entropy_at_the_noise_level_of_the_time():
    config = load("configs/subvp/digits_classifier.py")
    config.model.update(num_labels=3, channel_multiplier=1)
    network = make_network(config)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *example_inputs(config)[:2])["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.normal(scale=0.2, size=a.shape).astype(np.float32), shapes)
    sde = make_sde(config)
    x, t, labels = jax.random.normal(jax.random.key(1), (2, 8, 8, 1)), jnp.array([0.1, 0.9]), jnp.array([2, 0])
    found = jax.jit(log_class_probability(config, sde)(params, labels, None))(x, t)
    logits = jax.jit(network.apply)({"params": params}, x, sde.std(t) / sde.mean_coeff(t))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, np.log(probabilities[[0, 1], [2, 0]]), rtol=1e-5)
    objective = jax.jit(make_classifier_objective(config, 17))
    batch = {"x": np.full((2, 8, 8, 1), 8, np.uint8), "label": labels}
    terms = objective({"params": params}, jax.random.split(jax.random.key(2), 2), batch, None, jnp.int32(0))
    (losses,) = terms.losses.values()
    assert losses.shape == (2,) and np.all(losses > 0)
