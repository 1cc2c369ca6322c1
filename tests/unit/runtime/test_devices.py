"""Devices that share batches and a training state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runtime.devices import MIN_SHARDED_SIZE, Devices, announce, make_devices

TREE = {"weights": jnp.ones((96, 64)), "uneven": jnp.ones((65, 67)), "bias": jnp.ones((64,)), "step": jnp.zeros(())}


def test_large_arrays_are_sharded_along_their_longest_axis_that_divides_and_others_are_replicated():
    devices = make_devices(num_shards=4)
    shardings = devices.state_shardings(TREE)
    assert shardings["weights"].spec == jax.sharding.PartitionSpec("fsdp")
    assert all(shardings[name].is_fully_replicated for name in ("uneven", "bias", "step"))
    assert TREE["uneven"].size > MIN_SHARDED_SIZE  # it is its axes that do not divide
    others = sum(TREE[name].nbytes for name in ("uneven", "bias", "step"))
    assert devices.bytes_per_device(TREE) == TREE["weights"].nbytes // 4 + others
    assert make_devices().bytes_per_device(TREE) == TREE["weights"].nbytes + others


def test_an_array_that_the_shards_divide_along_no_axis_is_sharded_along_several():
    """Shapes alone: 256 devices in a mesh that only has a size."""
    mesh = jax.sharding.AbstractMesh((2, *(2,) * 8), ("data", "fsdp", *(f"fsdp_{k}" for k in range(1, 8))))
    devices = Devices(mesh)
    kernel, large, uneven = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((3, 3, 128, 128), (512, 96), (512, 3, 3)))
    assert devices.num_shards == 256 and devices.count == 512
    shardings = devices.state_shardings((kernel, large, uneven))
    assert shardings[0].shard_shape(kernel.shape) == (3, 3, 1, 64)
    assert shardings[1].shard_shape(large.shape) == (2, 96) and shardings[2].shard_shape(uneven.shape) == (2, 3, 3)
    odd = jax.ShapeDtypeStruct((3, 3, 96, 97), jnp.float32)  # by 32 only
    assert devices.bytes_per_device(odd) == odd.size * 4 // 32
    assert devices.batch_sharding.shard_shape((1024, 5)) == (2, 5)


def test_beyond_one_host_the_shards_have_an_axis_for_each_prime_factor(monkeypatch):
    monkeypatch.setattr("runtime.devices.MAX_SHARDS_OF_AN_AXIS", 4)
    devices = make_devices(num_shards=8)
    assert dict(devices.mesh.shape) == {"data": 1, "fsdp": 2, "fsdp_1": 2, "fsdp_2": 2}
    params = {"w": jnp.arange(68.0 * 66).reshape(68, 66)}  # 8 divides neither axis, 4 and 2 do
    sharded = jax.device_put(params, devices.state_shardings(params))
    assert {shard.data.shape for shard in sharded["w"].addressable_shards} == {(17, 33)}
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(devices.gather_params(p)["w"] ** 2)))(sharded)
    np.testing.assert_array_equal(gradient["w"], 2 * params["w"])
    assert {shard.data.shape for shard in gradient["w"].addressable_shards} == {(17, 33)}


def test_gathered_parameters_are_whole_and_their_gradient_is_sharded():
    devices = make_devices(num_shards=4)
    shardings = devices.state_shardings(TREE)
    params = jax.device_put(TREE, shardings)

    @jax.jit
    def step(params):
        loss, gradient = jax.value_and_grad(lambda p: jnp.sum(devices.gather_params(p)["weights"] ** 2))(params)
        return loss, gradient

    loss, gradient = step(params)
    assert float(loss) == TREE["weights"].size
    np.testing.assert_array_equal(gradient["weights"], 2 * np.ones((96, 64)))
    assert gradient["weights"].sharding.is_equivalent_to(shardings["weights"], 2)
    replicated = devices.replicate_params(params)
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(replicated))
    np.testing.assert_array_equal(replicated["weights"], TREE["weights"])


@pytest.mark.parametrize("num_shards", [1, 4])
def test_batches_are_sharded_over_all_devices(num_shards):
    devices = make_devices(num_shards=num_shards)
    x = np.arange(48.0).reshape(16, 3)
    batch = devices.shard_batch({"x": x})["x"]
    assert {shard.data.shape for shard in batch.addressable_shards} == {(2, 3)}
    stacked = devices.shard_batch({"x": np.stack([x, x])}, stacked=True)["x"]
    assert {shard.data.shape for shard in stacked.addressable_shards} == {(2, 2, 3)}
    np.testing.assert_array_equal(batch, x)


def test_rows_are_sharded_where_the_devices_divide_their_number_and_replicated_where_not():
    devices = make_devices()
    assert {shard.data.shape for shard in devices.shard_rows(np.ones((16, 3))).addressable_shards} == {(2, 3)}
    assert devices.shard_rows((np.ones((16, 3)), np.ones((13, 3))))[0].is_fully_replicated
    assert [devices.round_up(size) for size in (1, 8, 9)] == [8, 8, 16]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError(), "there is none"),  # what JAX 0.10 says of CUDA without a GPU
        (RuntimeError("Unable to initialize backend 'cuda': no such device.\nmore"), "Unable to initialize backend"),
    ],
)
def test_a_device_that_jax_cannot_use_is_one_sentence(error, reason, monkeypatch):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(
        ValueError, match=f"JAX_PLATFORMS=cuda, but JAX cannot use such a device here .{reason}"
    ) as found:
        announce("train")
    assert "\n" not in str(found.value) and "unset JAX_PLATFORMS" in str(found.value)


def test_the_kind_and_number_of_devices_are_in_one_line(caplog):
    with caplog.at_level("INFO"):
        announce("train")
    assert caplog.messages[0].startswith(f"train on {jax.device_count()} x cpu, ")
