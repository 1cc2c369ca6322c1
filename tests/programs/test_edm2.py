"""EDM2 from its config: magnitudes before and after training, and a run that is resumed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import run_lib
from builders.learned import of_network
from builders.network import make_network
from models.blocks.magnitude_preserving import MPBlock
from programs.run import Run
from tests.support.configs import load
from tests.support.runs import cut, stored
from training.checksums import checksums


def config_of(data_dir):
    """The digits config with a small network and large steps."""
    config = load("configs/edm2/digits.py")
    config.data.data_dir = data_dir
    config.model.update(nf=8, ch_mult=(1,), num_res_blocks=2, attn_resolutions=(8,))
    config.optim.update(lr=0.05, warmup=0)
    config.training.update(batch_size=16, n_iters=4, log_freq=1, snapshot_freq=2, eval_freq=0)
    config.training.update(snapshot_freq_for_preemption=2, snapshot_sampling=False)
    return config


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data_dir):
    """The states at the start, after four steps, and after the last two of them again."""
    folder, states = tmp_path_factory.mktemp("edm2"), {}
    for name in ("whole", "resumed"):
        if name == "resumed":
            cut(folder / "whole", 2, folder / name)
        with jax.default_prng_impl("unsafe_rbg"):  # quick to compile
            run = Run(config_of(data_dir), str(folder / name), jax.devices()[:1])
            states.setdefault("start", run.state())
            run_lib.train_run(run)
        states[name] = stored(run, 4)
    return run, states


def test_a_run_resumes_bit_for_bit_with_its_weight_of_noise_levels_and_its_averages(runs):
    _, states = runs
    assert checksums(states["whole"]) == checksums(states["resumed"])
    assert set(states["whole"].averages) == {"power_0", "power_1"}
    start, end = states["start"].params["uncertainty"], states["whole"].params["uncertainty"]
    assert np.abs(end["Dense_1"]["kernel"] - start["Dense_1"]["kernel"]).max() > 1e-4
    for path, leaf in jax.tree_util.tree_leaves_with_path(states["whole"].params):
        if path[-1].key == "weight":
            squares = np.mean(np.square(leaf), axis=tuple(range(leaf.ndim - 1)))
            np.testing.assert_allclose(squares, 1, rtol=1e-5, err_msg=jax.tree_util.keystr(path))


def test_magnitudes_are_one_in_every_block_before_and_after_training(runs):
    run, states = runs
    network = make_network(run.config)
    rng = np.random.default_rng(0)
    x, time = jnp.asarray(rng.standard_normal((64, 8, 8, 1)), jnp.float32), jnp.geomspace(0.02, 20.0, 64)

    @jax.jit
    def magnitudes(params):
        whole = lambda module, method: isinstance(module, MPBlock) or module.name == "input"  # noqa: E731
        apply = functools.partial(network.apply, capture_intermediates=whole, mutable=["intermediates"])
        found = apply({"params": params}, x, time)[1]["intermediates"]
        return jax.tree.map(lambda a: jnp.sqrt(jnp.mean(a**2)), found)

    for name in ("start", "whole"):
        found = jax.tree_util.tree_leaves_with_path(magnitudes(of_network(states[name].params)))
        assert len(found) == 8
        for path, magnitude in found:
            assert magnitude == pytest.approx(1, abs=0.05), (name, jax.tree_util.keystr(path))
