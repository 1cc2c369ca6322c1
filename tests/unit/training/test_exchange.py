"""One exchange of gradients per step, over devices that share a state or replicate it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.precision import converted
from runtime.devices import make_devices
from training.accumulation import gradients
from training.exchange import Exchange
from training.objectives.base import Terms, make_loss_fn


def objective(variables, keys, batch, dropout_key, step):
    """A loss of two layers, a metric, and a collection of a count and a mean."""
    params, counts = variables["params"], variables["counts"]
    noise = jax.vmap(lambda key: jax.random.normal(key, (64,)))(keys)
    hidden = jnp.tanh((batch["x"] + noise) @ params["a"]["kernel"] + params["a"]["bias"][None])
    changed = {"num": counts["num"] + len(keys), "mean": 0.9 * counts["mean"] + 0.1 * jnp.mean(batch["x"])}
    error = jnp.sum((hidden @ params["b"]["kernel"]) ** 2, axis=1)
    return Terms({"error": error}, {"hidden": jnp.mean(hidden)}, {"counts": changed})


def given():
    rng = np.random.default_rng(0)
    kernel, other = rng.normal(size=(64, 96)), rng.normal(size=(96, 64))
    params = {"a": {"kernel": kernel, "bias": np.zeros(96)}, "b": {"kernel": other}}
    params = jax.tree.map(lambda a: a.astype(np.float32), params)
    variables = {"params": params, "counts": {"num": np.int32(3), "mean": np.float32(1)}}
    return variables, {"x": rng.normal(size=(32, 64)).astype(np.float32)}


def relative(found, expected):
    """The largest differences of arrays, relative to their largest element."""
    return jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max() / np.abs(b).max()), found, expected))


@pytest.mark.parametrize(
    ("num_shards", "num_parts", "dtype", "tolerance"),
    [
        (1, 2, None, 1e-6),  # sums in another order
        (2, 2, None, 1e-6),  # and in two steps: over the shards, then over their copies
        (8, 1, jnp.bfloat16, 2e-2),  # roundings to 8 bits, of 8 terms that partly cancel
    ],
)
def test_devices_exchange_gradients_of_their_own_rows(num_shards, num_parts, dtype, tolerance):
    variables, batch = given()
    loss_fn, args = make_loss_fn(objective), (jax.random.key(0), jnp.int32(0))
    (loss, aux), grads = jax.jit(gradients(loss_fn))(variables, args[0], batch, args[1])
    devices = make_devices(num_shards=num_shards)
    shardings = devices.state_shardings(variables["params"])
    sharded = {**variables, "params": jax.device_put(variables["params"], shardings)}
    exchanged = jax.jit(gradients(loss_fn, num_parts, Exchange(devices, dtype=dtype)))
    found, of_devices = exchanged(sharded, args[0], devices.shard_batch(batch), args[1])
    assert max(relative(found, (loss, aux))) < 1e-6 and found[1][1]["counts"]["num"] == 3 + 32
    assert max(relative(of_devices, grads)) < tolerance
    assert dtype is None or max(relative(of_devices, grads)) > 1e-4  # they are summed in this type
    for gradient, sharding in zip(jax.tree.leaves(of_devices), jax.tree.leaves(shardings), strict=True):
        assert gradient.dtype == jnp.float32 and gradient.sharding.is_equivalent_to(sharding, gradient.ndim)


def test_parameters_are_gathered_and_gradients_scattered_once_in_the_type_of_the_network():
    variables, batch = given()
    devices = make_devices(num_shards=4)
    working = lambda params: converted(params, jnp.bfloat16)  # noqa: E731
    step = jax.jit(gradients(make_loss_fn(objective), 2, Exchange(devices, working)))
    text = step.lower(variables, jax.random.key(0), devices.shard_batch(batch), jnp.int32(0)).as_text()
    found = re.findall(r'"stablehlo.reduce_scatter".*?\(tensor<(\S+)>\) -> tensor<(\S+)>\n', text, re.DOTALL)
    assert sorted(found) == [("64x96xbf16", "64x24xbf16"), ("96x64xbf16", "24x64xbf16")]
