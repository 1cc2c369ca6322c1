"""A state that devices share, the memory of a step, and what a step does not do."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
from builders.devices import make_devices
from builders.state import abstract_state
from core.errors import ExitCode
from core.keys import fold_in
from data.prefetch import Prefetcher
from programs.run import Run
from programs.train import compile_all, settings_of
from tests.support.configs import load
from training.accumulation import gradients
from training.checkpoint import Checkpoints
from training.objectives.score_matching import make_loss_fn

STEPS = 4


def config_of(data_dir, **training):
    """The smoke run with the sizes of a layer that is worth dividing."""
    config = load("configs/vp/smoke.py")
    config.data.data_dir = data_dir
    config.model.update(nf=32, ema_rates=(0.9,))
    config.training.update(snapshot_sampling=False, **training)
    return config


def bytes_on_one_device(tree):
    device = jax.devices()[0]
    shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards if shard.device == device]
    return sum(shard.data.nbytes for shard in shards)


def batches_of(run):
    rng = np.random.default_rng(0)
    shape = (run.config.training.batch_size, *run.train.shape)
    while True:
        yield {"x": rng.integers(0, 17, shape).astype(np.uint8), "label": np.zeros(shape[0], np.int32)}


class Trained:
    """Some steps of a run on eight devices: losses, states, and the compiled step's own account of its memory."""

    def __init__(self, config, workdir, monkeypatch):
        compiled_steps = []
        compile_step = jax.stages.Lowered.compile
        monkeypatch.setattr(
            jax.stages.Lowered, "compile", lambda self: compiled_steps.append(compile_step(self)) or compiled_steps[-1]
        )
        self.run = Run(config, str(workdir))
        self.state = self.run.state()
        steps = compile_all(self.run, settings_of(config.training), self.state).steps
        self.memory = compiled_steps[-1].memory_analysis()
        self.shardings = jax.tree.map(lambda leaf: leaf.sharding, self.state)
        self.state_bytes = bytes_on_one_device(self.state)
        batches, metrics = Prefetcher(batches_of(self.run), self.run.devices.shard_batch), []
        state, step = self.state, 0
        while step < STEPS:
            with jax.transfer_guard("disallow" if step else "allow"):
                state, metric, taken = steps.advance(state, batches, step, set())
            metrics, step = [*metrics, metric], step + taken
        self.given, self.state, self.whole_bytes = self.state, state, sum(a.nbytes for a in jax.tree.leaves(state))
        self.losses = [float(metric["loss"]) for metric in metrics]


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """Runs in which 1 and 4 devices share the state."""
    with pytest.MonkeyPatch.context() as patch:
        return {
            shares: Trained(config_of(data_dir, fsdp=shares), tmp_path_factory.mktemp(f"shares_{shares}"), patch)
            for shares in (1, 4)
        }


def test_devices_that_share_the_state_have_the_losses_of_devices_that_each_have_all_of_it(trained):
    np.testing.assert_allclose(trained[4].losses, trained[1].losses, rtol=1e-5)  # sums in another order
    for ours, theirs in zip(*(jax.tree.leaves(trained[k].state.params) for k in (4, 1)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)  # Adam makes a difference of a gradient near 0 one of lr


def test_each_of_four_devices_keeps_about_a_quarter(trained):
    one, four = trained[1], trained[4]
    assert one.state_bytes == one.whole_bytes == four.whole_bytes
    assert 0.25 * four.whole_bytes <= four.state_bytes < 0.3 * four.whole_bytes  # biases and norms are replicated
    assert four.state_bytes == four.run.devices.bytes_per_device(four.state)
    assert bytes_on_one_device(four.state) == four.state_bytes


@pytest.mark.parametrize("shares", [1, 4])
def test_the_whole_state_is_donated_and_comes_back_as_it_was_divided(trained, shares):
    found = trained[shares]
    assert found.memory.alias_size_in_bytes == found.state_bytes
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(found.given))
    same = jax.tree.map(lambda leaf, sharding: leaf.sharding == sharding, found.state, found.shardings)
    assert all(jax.tree.leaves(same))


def test_a_step_moves_nothing_but_its_batch(trained):
    """`trained` ran all steps but the first under a guard; that the guard would tell is seen here."""
    step = jax.jit(lambda a, b: a + b)
    device = step(jnp.ones(3), jnp.ones(3))
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        step(device, np.ones(3, np.float32))
    assert len(trained[1].losses) == STEPS


def test_a_checkpoint_of_four_shares_is_read_by_any_number_and_back(trained, tmp_path):
    states = {shares: found.state for shares, found in trained.items()}
    four = Checkpoints(tmp_path / "four")
    four.save(1, states[4], {})
    whole = four.restore(1, trained[1].run.abstract_state())
    one = Checkpoints(tmp_path / "one")
    one.save(1, whole, {})
    back = one.restore(1, trained[4].run.abstract_state())
    for leaf, read, again in zip(*map(jax.tree.leaves, (states[4], whole, back)), strict=True):
        np.testing.assert_array_equal(leaf, read)
        np.testing.assert_array_equal(leaf, again)
        assert again.sharding == leaf.sharding and read.sharding.is_fully_replicated
    four.close(), one.close()


def test_the_state_of_the_largest_published_model_takes_an_eighth_of_its_bytes_on_eight_devices():
    """1024 pixels: parameters, their average and two moments; 12 bytes more for three counts of steps."""
    config = load("configs/ve/celebahq_ncsnpp_continuous.py")
    state = abstract_state(config)
    assert config.data.image_size == 1024
    sizes = {}
    for shares in (1, 8):
        config.training.fsdp = shares
        sizes[shares] = make_devices(config).bytes_per_device(state)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert sizes[1] == 4 * 4 * num_params + 3 * 4
    assert sizes[8] < 0.13 * sizes[1]


# Before devices are chosen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["grad_accumulation", "fsdp"])
def test_a_config_is_checked_before_a_processor_is_divided_by_it(monkeypatch, capsys, key):
    config = load("configs/vp/smoke.py")
    config.training[key] = 0
    monkeypatch.setattr(main, "FLAGS", types.SimpleNamespace(config=config, mode="eval", cpu_devices=None))
    monkeypatch.delenv("XLA_FLAGS")
    assert main.launch(["main.py"]) == ExitCode.USER_ERROR
    assert capsys.readouterr().err == f"error: config.training.{key} = 0, but it must be positive.\n"


# Accumulation -----------------------------------------------------------------------------------------------------


def per_example(params, keys, batch, dropout_key):
    """A loss that depends on every random number: of the example, and, as dropout does, of the part."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    return jnp.sum((batch["x"] * params["a"][None] + noise) ** 2, axis=1)


def test_gradients_of_parts_have_the_mean_of_the_whole_batch():
    batch = {"x": jax.random.normal(jax.random.key(1), (12, 3)), "label": jnp.zeros(12, jnp.int32)}
    params, key, loss_fn = {"a": jnp.arange(1.0, 4.0)}, jax.random.key(0), make_loss_fn(per_example)
    (loss, metrics), grads = jax.jit(gradients(loss_fn))(params, key, batch)
    for parts in (2, 3, 12):
        (given, told), of_parts = jax.jit(gradients(loss_fn, parts))(params, key, batch)
        np.testing.assert_allclose(given, loss, rtol=1e-6)  # sums in another order
        np.testing.assert_allclose(told["loss"], metrics["loss"], rtol=1e-6)
        np.testing.assert_allclose(of_parts["a"], grads["a"], rtol=1e-5)


def test_every_part_has_a_dropout_key_of_its_own():
    def key_as_loss(params, keys, batch, dropout_key):
        return params["a"] * jax.random.uniform(dropout_key) + jnp.zeros(len(keys))

    batch, key = {"x": jnp.zeros((4, 1))}, jax.random.key(7)
    (loss, _), _ = gradients(make_loss_fn(key_as_loss), 2)({"a": jnp.asarray(1.0)}, key, batch)
    keys = [fold_in(fold_in(key, 1), part) for part in range(2)]
    assert float(loss) == pytest.approx(np.mean([float(jax.random.uniform(k)) for k in keys]), rel=1e-6)
