"""What XLA compiles for TPUs and GPUs that are not here: memory, communication, precision.

Tests of TPUs are skipped without requirements-plan.txt, tests of GPUs without requirements-plan-gpu.txt.
"""

import importlib.util
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from core.target import compiling_for, float32_products
from models.blocks.convolution import conv
from models.blocks.dropout import Dropout
from models.precision import converted
from programs import plan
from runtime import topology
from runtime.collectives import collectives
from runtime.cost import compiled_cost
from runtime.devices import make_devices
from tests.support.configs import load
from tests.support.experiments import shrunken

EXPERIMENTS = (  # of different networks, processes, and losses, also where they are made small
    "configs/vp/cifar10_ddpmpp_continuous.py", "configs/ve/cifar10_ncsnpp_continuous.py",
    "configs/subvp/cifar10_ddpm_continuous.py", "configs/vp/ddpm/cifar10.py", "configs/vp/cifar10_ncsnpp.py",
    "configs/ve/celebahq_256_ncsnpp_continuous.py", "configs/ve/ncsn/cifar10.py", "configs/ve/ncsnv2/bedroom.py",
)  # fmt: skip
WITH = {"v5e:2x2": ("libtpu", "requirements-plan.txt"), "h100x8": ("jax_cuda12_plugin", "requirements-plan-gpu.txt")}

pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


def devices_of(name):
    """The devices of a topology; the test is skipped where their compiler is not installed."""
    package, file = WITH[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{file} is not installed")
    return topology.find(name)


@pytest.fixture(scope="module", autouse=True)
def _without_the_cache():
    """Programs for devices that are not here cannot be read back."""
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


@pytest.fixture(scope="module")
def tpus():
    return devices_of("v5e:2x2")


def config_of(**settings):
    """A perceptron on vectors, with one hidden layer that is large enough to be sharded."""
    config = load("configs/vp/vectors_mlp_continuous.py")
    config.data.update(dataset="synthetic", shape=(8,))
    config.model.update(nf=64, num_res_blocks=1)
    config.training.update(batch_size=16, **settings)
    config.eval.batch_size = 16
    config.sampling.update(predictor="ddim", corrector="none", num_steps=4)
    return config


def compiled(config, tpus, program="train"):
    shapes = plan.shapes_of(config, tpus, plan.spec_of(config))
    cost, program_ = compiled_cost(plan.lowered(shapes, tpus, program), tpus)
    return shapes, cost, collectives(program_.as_text(), len(tpus.devices))


def sharded_step(tpus, num_shards, width):
    """A step of a convolution in bfloat16, whose kernel in float32 is sharded: what is exchanged, and its sharding."""
    devices = make_devices(tpus.devices, num_shards)
    params = {"conv": {"kernel": jax.ShapeDtypeStruct((3, 3, width, width), jnp.float32)}}
    shardings = devices.state_shardings(params)

    def step(params, x):
        def loss(params):
            kernel = devices.gather_params(converted(params, jnp.bfloat16))["conv"]["kernel"]
            dimensions = ("NHWC", "HWIO", "NHWC")
            y = jax.lax.conv_general_dilated(
                x.astype(jnp.bfloat16), kernel, (1, 1), "SAME", dimension_numbers=dimensions
            )
            return jnp.sum(y.astype(jnp.float32) ** 2)

        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))

    given = jax.tree.map(lambda p, s: jax.ShapeDtypeStruct(p.shape, p.dtype, sharding=s), params, shardings)
    x = jax.ShapeDtypeStruct((devices.count, 8, 8, width), jnp.float32, sharding=devices.batch_sharding)
    done = jax.jit(step, donate_argnums=0, out_shardings=shardings).lower(given, x).compile()
    return collectives(done.as_text(), devices.count), devices.bytes_per_device(params), done


def test_a_data_parallel_step_sums_gradients_and_exchanges_nothing_else(tpus):
    shapes, cost, found = compiled(config_of(), tpus)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(shapes.state.params))
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes.state))
    assert cost.fits and abs(cost.arguments - state) < 0.01 * state + 4096  # with the batch
    assert cost.aliased >= state  # all of the state is donated
    assert {each.kind for each in found} == {"all-reduce"} and not any(each.in_loop for each in found)
    # The compiler sums some small gradients, such as that of a bias, as parts of others.
    assert sum(each.bytes for each in found) == pytest.approx(4 * num_params, rel=0.01)
    assert cost.flops and cost.bytes_accessed and cost.bound == max(cost.seconds.values()) > 0


@pytest.mark.parametrize("name", WITH)
@pytest.mark.parametrize("path", EXPERIMENTS)
def test_a_published_experiment_sums_its_gradients_in_the_type_of_its_network_once(path, name):
    """Made small: on TPUs, each of its arrays is padded to a tile, so that the arguments are larger than the state."""
    devices, config = devices_of(name), shrunken(path)
    dtype, size = ("f32", 4) if config.model.name == "ncsn" else ("bf16", 2)  # its tables of conditions stay in float32
    config.model.dtype = {"f32": "float32", "bf16": "bfloat16"}[dtype]
    shapes, cost, found = compiled(config, devices)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(shapes.state.params))
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes.state))
    batch = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in shapes.batch(8).values())
    assert cost.fits and shapes.run.devices.bytes_per_device(shapes.state) == state
    if devices.platform == "gpu":
        assert cost.aliased == state and 0 < cost.arguments - state <= batch // len(devices.devices)
    else:
        assert cost.aliased >= state and 0 <= cost.arguments - cost.aliased < batch + 2 * 4096 * len(shapes.batch(8))
    assert {each.kind for each in found} == {"all-reduce"} and not any(each.in_loop for each in found)
    gradients = sum(each.bytes for each in found if each.types == (dtype,))
    assert gradients == pytest.approx(size * num_params, rel=0.03)  # some small ones are sums of parts of others


def test_shards_are_gathered_in_the_type_that_the_network_computes_in_and_gradients_are_scattered(tpus):
    found, held, done = sharded_step(tpus, 4, 128)
    whole = 3 * 3 * 128 * 128
    assert held == 4 * whole // 4 == done.memory_analysis().alias_size_in_bytes
    gathered = [each for each in found if each.kind == "all-gather"]
    assert {each.types for each in gathered} == {("bf16",)} and sum(each.bytes for each in gathered) == 2 * whole
    (scattered,) = (each for each in found if each.kind == "reduce-scatter")
    assert scattered.bytes == 2 * whole and not [each for each in found if each.kind == "all-reduce"]


@pytest.mark.parametrize(
    ("settings", "kinds", "dtype"),
    [
        ({"fsdp": 4, "grad_accumulation": 2}, {"all-gather", "reduce-scatter", "all-reduce"}, "bf16"),
        ({"grad_accumulation": 2}, {"all-reduce"}, "bf16"),
        ({"fsdp": 4, "grad_dtype": "float32"}, {"all-gather", "reduce-scatter", "all-reduce"}, "f32"),
    ],
)
def test_gradients_are_exchanged_once_per_step_in_the_type_that_is_asked_for(tpus, settings, kinds, dtype):
    config = config_of(**settings)
    config.model.dtype = "bfloat16"
    shapes, _, found = compiled(config, tpus)
    large = [leaf.size for leaf in jax.tree.leaves(shapes.state.params) if leaf.size >= 2**16]
    assert {each.kind for each in found} == kinds and not any(each.in_loop or each.times > 1 for each in found)
    summed = [each for each in found if each.largest >= 2**16 and each.kind != "all-gather"]
    assert {each.types for each in summed} == {(dtype,)}
    if "fsdp" in settings:
        assert [each.largest for each in summed if each.kind == "reduce-scatter"] == large
        assert all(each.largest < 2**16 for each in found if each.kind == "all-reduce")
    gathered = [each for each in found if each.kind == "all-gather"]
    assert all(each.types == ("bf16",) for each in gathered)


def test_256_shards_divide_arrays_along_several_axes(tpus):
    """None of its axes divides by 256. A device holds its part, padded to tiles of 128."""
    _, held, done = sharded_step(topology.find("v5e:16x16"), 256, 128)
    whole = 4 * 3 * 3 * 128 * 128
    assert held == whole // 256
    assert done.memory_analysis().alias_size_in_bytes <= 2 * whole // 256


def test_a_sampler_exchanges_nothing_in_its_loop(tpus):
    _, _, found = compiled(config_of(), tpus, "sample")
    assert not [each for each in found if each.in_loop]


def test_the_random_bits_of_a_dropout_are_computed_once_and_not_in_each_convolution_that_reads_them(tpus):
    shape, where = (8, 16, 16, 128), jax.sharding.SingleDeviceSharding(tpus.devices[0])

    class Dropped(nn.Module):
        @nn.compact
        def __call__(self, x):
            return conv(128, dtype=jnp.bfloat16)(Dropout(0.1)(conv(128, dtype=jnp.bfloat16)(x), True))

    def loss(params, x, key):
        return jnp.sum(Dropped().apply({"params": params}, x, rngs={"dropout": key}).astype(jnp.float32) ** 2)

    x, key = jnp.zeros((1, *shape[1:])), jax.random.key(0)
    params = jax.eval_shape(lambda: Dropped().init({"params": key, "dropout": key}, x))["params"]
    params, x, key = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where),
        (params, jax.ShapeDtypeStruct(shape, jnp.bfloat16), jax.eval_shape(lambda: jax.random.key(0))),
    )
    with compiling_for("tpu"):
        text = jax.jit(jax.grad(loss)).lower(params, x, key).compile().as_text()
    elements = "|".join(map(str, shape))
    rounds = [line for line in text.splitlines() if re.search(rf"= u32\[({elements})[,\d]*\]\S* xor\(", line)]
    assert 20 <= len(rounds) < 40  # of Threefry


@pytest.mark.parametrize(("precision", "asked"), [("highest", "operand_precision={highest,highest}"), (None, None)])
def test_products_in_float32_are_in_float32(tpus, precision, asked):
    where = jax.sharding.SingleDeviceSharding(tpus.devices[0])
    x = jax.ShapeDtypeStruct((256, 256), jnp.float32, sharding=where)

    def product(x):
        if precision is None:
            return x @ x
        with float32_products(precision):
            return x @ x

    with compiling_for("tpu"):
        text = jax.jit(product).lower(x).compile().as_text()
    assert (asked in text) if asked else ("highest" not in text)


def test_what_does_not_fit_is_refused_with_its_bytes(tpus):
    where = jax.sharding.SingleDeviceSharding(tpus.devices[0])
    x = jax.ShapeDtypeStruct((50 * 2**30 // 4,), jnp.float32, sharding=where)
    cost, program = compiled_cost(jax.jit(lambda x: x + 1).lower(x), tpus)
    assert program is None and not cost.fits and cost.needed >= 50 * 2**30 and cost.memory == int(15.75 * 2**30)


def test_one_chip_is_a_part_of_a_host(tpus):
    assert len(topology.find("v5e-1").devices) == 1 and len(topology.find("v5p-8").devices) == 4


def test_a_shape_that_the_compiler_does_not_take_is_one_sentence(tpus):
    with pytest.raises(ValueError, match="--topology=v5e:3x5 cannot be compiled for") as found:
        topology.find("v5e:3x5")
    assert "\n" not in str(found.value)
