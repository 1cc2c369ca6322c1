"""A run whose state is sharded: its losses and memory, and what a step does not move."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
from builders.devices import make_devices
from builders.network import initial_variables
from builders.state import abstract_state
from core.errors import ExitCode
from data.prefetch import Prefetcher
from programs.run import Run
from programs.train import compile_all, settings_of
from tests.support import perceptron
from tests.support.configs import load
from training.checkpoint import Checkpoints

STEPS = 4


def config_of(data_dir, **training):
    """The smoke run on a perceptron that is large enough to be sharded."""
    config = load("configs/vp/smoke.py")
    config.data.data_dir = data_dir
    config.model.update(name=perceptron.NAME, nf=128, ema_rates=(0.9,))
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


def test_devices_that_share_the_state_have_the_losses_of_devices_that_replicate_it(trained):
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
def test_the_whole_state_is_donated_and_returns_with_its_shardings(trained, shares):
    found = trained[shares]
    assert found.memory.alias_size_in_bytes == found.state_bytes
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(found.given))
    same = jax.tree.map(lambda leaf, sharding: leaf.sharding == sharding, found.state, found.shardings)
    assert all(jax.tree.leaves(same))


def test_a_step_moves_nothing_but_its_batch(trained):
    """`trained` ran all steps but the first under a guard; here the guard is seen to work."""
    step = jax.jit(lambda a, b: a + b)
    device = step(jnp.ones(3), jnp.ones(3))
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        step(device, np.ones(3, np.float32))
    assert len(trained[1].losses) == STEPS


def test_a_checkpoint_of_four_shards_is_restored_by_any_number_of_devices(trained, tmp_path):
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
    state = abstract_state(config, functools.partial(initial_variables, config))
    assert config.data.image_size == 1024
    sizes = {}
    for shares in (1, 8):
        config.training.fsdp = shares
        sizes[shares] = make_devices(config).bytes_per_device(state)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert sizes[1] == 4 * 4 * num_params + 3 * 4
    assert sizes[8] < 0.13 * sizes[1]


@pytest.mark.parametrize("key", ["grad_accumulation", "fsdp"])
def test_a_config_is_checked_before_a_cpu_is_split_by_it(monkeypatch, capsys, key):
    config = load("configs/vp/smoke.py")
    config.training[key] = 0
    monkeypatch.setattr(main, "FLAGS", types.SimpleNamespace(config=config, mode="eval", cpu_devices=None))
    monkeypatch.delenv("XLA_FLAGS")
    assert main.launch(["main.py"]) == ExitCode.USER_ERROR
    assert capsys.readouterr().err == f"error: config.training.{key} = 0, but it must be positive.\n"
