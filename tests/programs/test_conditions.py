"""Networks conditioned on fields of the data, and networks of a user's own, through the programs."""

import jax
import numpy as np
import pytest

import run_lib
from programs import restore_run, sample
from programs.run import Run
from tests.support import own_networks, perceptron
from tests.support.configs import load
from tests.support.runs import asked

NUM = 40
ATTRIBUTES = np.random.default_rng(1).standard_normal((NUM, 4)).astype(np.float32)


def config_of(folder, **model):
    """Four steps on vectors that are linear functions of attributes, with a digit."""
    x = ATTRIBUTES @ np.random.default_rng(2).standard_normal((4, 5)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, attributes=ATTRIBUTES, digit=np.arange(NUM) % 10)
    config = load("configs/vp/smoke.py")
    config.data.dataset = f"npz:{folder / 'data.npz'}"
    config.model.update(name=perceptron.NAME, nf=8, num_res_blocks=1, ema_rate=0.0, **model)
    config.sampling.update(predictor="ddim", num_steps=3)
    config.training.update(n_iters=4, log_freq=2, snapshot_freq=4, snapshot_freq_for_preemption=2, eval_freq=0)
    config.training.snapshot_sampling = False
    config.optim.update(warmup=0, lr=0.01)
    config.eval.batch_size = 8
    return config


def run_of(config, workdir):
    return Run(config, str(workdir), jax.devices()[:1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with two conditions; training drops the first now and then."""
    folder = tmp_path_factory.mktemp("conditioned")
    config = config_of(folder, conditions=("attributes:add:0.25", "digit:norm"))
    run_lib.train_run(run_of(config, folder / "run"))
    return folder / "run"


def test_the_checkpoint_knows_the_shapes_of_its_conditions_and_the_network_learns_from_them(trained):
    stored = restore_run.about(trained).config
    assert stored.model.conditions == ("attributes[4]:add:0.25", "digit[]/10:norm")
    params = restore_run.restore(trained).variables["params"]
    named = jax.tree_util.tree_leaves_with_path(params)
    kernels = [leaf for path, leaf in named if "signal_attributes" in str(path) or "modulation" in str(path)]
    assert len(kernels) == 3 and all(np.any(leaf != 0) for leaf in kernels)  # they are initialized to zero


def test_samples_are_of_the_values_that_are_asked_for(trained, tmp_path):
    run = Run.of_checkpoint(restore_run.about(trained).config, trained, devices=jax.devices()[:1])
    np.savez(tmp_path / "both.npz", attributes=ATTRIBUTES[:2], digit=np.array([3, 3]))
    np.savez(tmp_path / "one.npz", digit=np.array([3, 3]))
    found = {}
    for name in ("both", "one"):
        request = asked(run, "conditioned", values=tmp_path / f"{name}.npz", num_samples=2)
        directory = sample.execute(run, request, sample.prepare(run, request))
        found[name] = np.load(directory / "samples.npz")
    assert found["both"]["arr_0"].shape == (4, 5)
    np.testing.assert_array_equal(found["both"]["attributes"], np.repeat(ATTRIBUTES[:2], 2, axis=0))
    different = np.abs(found["both"]["arr_0"] - found["one"]["arr_0"]).max(axis=1)
    assert np.all(different > 1e-4)  # keys are the same


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"height": np.ones(2)}, "has 'height', but the model is conditioned on attributes, digit; leave it out"),
        (
            {"attributes": np.ones((2, 3))},
            r"float64 \(2, 3\) as 'attributes', but it is finite numbers of shape \(N, 4\)",
        ),
        ({"digit": np.array([3, 10])}, r"but it is integers from 0 to 9 of shape \(N\)"),
        ({"digit": np.array([3]), "attributes": np.ones((2, 4))}, r"arrays of \[1, 2\] rows"),
        (None, "--task=conditioned needs --request.values=FILE.npz, with any of attributes, digit"),
    ],
)
def test_values_of_other_fields_are_refused(trained, tmp_path, values, message):
    run = Run.of_checkpoint(restore_run.about(trained).config, trained, devices=jax.devices()[:1])
    if values is not None:
        np.savez(tmp_path / "values.npz", **values)
    request = asked(run, "conditioned", values=None if values is None else tmp_path / "values.npz")
    with pytest.raises(ValueError, match=message):
        sample.prepare(run, request)


def test_samples_of_an_evaluation_are_of_the_values_of_training_examples_in_turn(trained):
    run = Run.of_checkpoint(restore_run.about(trained).config, trained, devices=jax.devices()[:1])
    given, examples = run.system.labels(2, 3), run.train.fetch(np.array([2, 3, 4]))
    assert given.keys() == {"attributes", "digit"}
    for name, values in given.items():
        np.testing.assert_array_equal(values, examples[name])


def test_classifier_free_guidance_needs_a_drop_rate(tmp_path):
    for condition, fits in (("attributes:add:0.25", True), ("attributes:add", False)):
        config = config_of(tmp_path, conditions=(condition,))
        config.sampling.update(guidance="classifier_free", guidance_scale=2.0)
        run = run_of(config, tmp_path)
        if fits:
            run.system.open_guide()
        else:
            with pytest.raises(ValueError, match="or with a drop rate in config.model.conditions"):
                run.system.open_guide()


def test_a_field_that_the_data_do_not_have_is_refused_before_anything_is_built(tmp_path):
    with pytest.raises(ValueError, match="'height:add', but npz:.* has attributes, digit; name one of its fields"):
        run_of(config_of(tmp_path, conditions=("height:add",)), tmp_path)


@pytest.mark.parametrize("name", [own_networks.NNX, own_networks.LINEN])
def test_a_network_of_a_users_own_trains_resumes_bit_for_bit_and_samples(name, tmp_path):
    config = config_of(tmp_path)
    config.model.name = name
    states = []
    for workdir, steps in (("whole", (4,)), ("parts", (2, 4))):
        for n_iters in steps:
            config.training.update(n_iters=n_iters, snapshot_freq=n_iters)
            run_lib.train_run(run_of(config, tmp_path / workdir))
        states.append(restore_run.restore(tmp_path / workdir))
    assert states[0].step == states[1].step == 4
    jax.tree.map(np.testing.assert_array_equal, states[0].variables, states[1].variables)
    start = run_of(config, tmp_path / "new").state().params
    moved = jax.tree.map(lambda old, new: float(np.abs(old - new).max()), start, states[0].variables["params"])
    assert all(distance > 0 for distance in jax.tree.leaves(moved))
    run = Run.of_checkpoint(config, tmp_path / "whole", devices=jax.devices()[:1])
    request = asked(run, "unconditional", num_samples=3)
    samples = np.load(sample.execute(run, request, sample.prepare(run, request)) / "samples.npz")["arr_0"]
    assert samples.shape == (3, 5) and np.all(np.isfinite(samples))
