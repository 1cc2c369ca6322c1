"""Every published experiment is lowered and sampled from; one of each family of networks runs through the programs."""

import json

import jax
import numpy as np
import pytest

import run_lib
from builders.process import make_sde
from configs import default
from core.keys import example_keys
from corruption.predictions import from_score
from programs import train
from programs.run import Run
from tests.support.configs import PUBLISHED, load


@pytest.fixture(autouse=True, scope="module")
def _random_bits_that_compile_quickly():
    with jax.default_prng_impl("unsafe_rbg"):
        yield


def equalized(path):
    """The experiment with equal numbers where they only scale something, and two steps of eight random images."""
    config = load(path)
    config.data.update(dataset="synthetic", category=None)
    config.model.update(num_scales=6, beta_max=4.0, sigma_max=10.0, ema_rate=0.9, dropout=0.1)
    config.optim.update(lr=1e-3, warmup=min(config.optim.warmup, 2))
    config.sampling.update(snr=0.1, n_steps_each=min(config.sampling.n_steps_each, 2))
    config.training.update(
        batch_size=8, reduce_mean=True, n_iters=2, log_freq=1, snapshot_freq=2, snapshot_freq_for_preemption=2
    )
    config.training.update(eval_freq=0, snapshot_sampling=False, n_jitted_steps=1)
    config.eval.update(begin_ckpt=1, end_ckpt=1, batch_size=64, num_samples=8, wait_seconds=1.0, rtol=0.1, atol=0.1)
    config.eval.update(enable_loss=False, enable_sampling=True, enable_bpd=config.training.continuous)
    return config


def shallow(path):
    """With its own network and size of images, but one residual block where others follow that are the same."""
    config = equalized(path)
    config.model.num_res_blocks = 1
    return config


def shrunken(path):
    """With what makes it large taken away; the kinds of network, SDE, levels and sampler stay what they are."""
    config = equalized(path)
    config.data.image_size, config.model.nf = 8, 8
    if config.model.name in ("ncsnpp", "ddpm"):
        config.model.update(ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=())
    return config


def groups(shrink):
    """{a smaller config as JSON: the experiments that become it}."""
    found = {}
    for path in PUBLISHED:
        found.setdefault(json.dumps(default.to_json(shrink(path)), sort_keys=True), []).append(path)
    return list(found.values())


def variety(config):
    """What must not be lost in shrinking."""
    model, sampling = config.model, config.sampling
    networks = (model.name, model.progressive, model.progressive_input, model.fir, model.conditional)
    return *networks, config.training.sde, config.training.continuous, sampling.predictor, sampling.corrector


@pytest.mark.parametrize("shrink", [shrunken, shallow])
def test_the_smaller_experiments_are_as_various_as_the_published_ones(shrink):
    found = groups(shrink)
    assert sorted(path for paths in found for path in paths) == PUBLISHED and len(PUBLISHED) == 39
    assert {variety(load(path)) for path in PUBLISHED} == {variety(shrink(paths[0])) for paths in found}


@pytest.mark.parametrize("path", [paths[0] for paths in groups(shallow)])
def test_the_training_step_is_lowered(path, tmp_path):
    """From the shapes of the state and of a batch, for the network with all its levels and pixels."""
    run = Run(shallow(path), str(tmp_path), jax.devices()[:1])
    x = jax.ShapeDtypeStruct((8, *run.spec.shape), run.spec.dtype)
    batch = {"x": x, "label": jax.ShapeDtypeStruct((8,), np.int32)}
    step, state = train.make_step(run, train.settings_of(run.config.training)), run.abstract_state()
    traced = jax.jit(step).trace(state, batch)
    after, metrics = traced.out_info
    assert metrics["loss"].shape == metrics["grad_norm"].shape == ()
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    assert traced.lower().cost_analysis()["flops"] > 1e6


def expected_calls(config):
    """The fewest network calls of a sample; one more where the last step is a call."""
    predicted, corrected = config.sampling.predictor != "none", config.sampling.corrector != "none"
    return config.model.num_scales * (predicted + corrected * config.sampling.n_steps_each)


@pytest.mark.parametrize("path", [paths[0] for paths in groups(shrunken)])
def test_the_sampler_makes_the_calls_that_its_settings_say(path, tmp_path):
    """With the score of a standard normal instead of the network."""
    run = Run(shrunken(path), str(tmp_path), jax.devices()[:1])
    keys = example_keys(jax.random.key(0), 4)
    predict = from_score(lambda x, t: -x, run.system.sde)
    found = jax.jit(lambda keys: run.system.sampler(keys, predict, (4, *run.spec.shape)))(keys)
    assert found.x.shape == (4, 8, 8, 3) and np.isfinite(found.x).all()
    assert expected_calls(run.config) <= found.num_evals <= expected_calls(run.config) + 1


OF_EACH_FAMILY = (
    "configs/ve/cifar10_ncsnpp_continuous.py", "configs/vp/ddpm/cifar10_continuous.py", "configs/ve/ncsn/cifar10.py",
    "configs/ve/ncsnv2/cifar10.py",
)  # fmt: skip


@pytest.mark.parametrize("path", OF_EACH_FAMILY)
def test_it_takes_two_steps_samples_and_has_a_likelihood(path, tmp_path):
    config = shrunken(path)
    run = Run(config, str(tmp_path), jax.devices()[:1])
    run_lib.train_run(run)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(np.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in lines)
    (report,) = run_lib.evaluate_run(run)
    results = json.loads(report.read_text())["results"]
    samples = np.load(report.parent / "samples.npz")["arr_0"]
    assert samples.shape == (8, 8, 8, 3) and len(np.unique(samples)) > 1
    assert expected_calls(config) <= results["samples"]["num_evals"] <= expected_calls(config) + 1
    if config.training.continuous:
        # Uniform pixels have 8 bits/dim, no model has fewer; one that knows nothing of them has some more.
        assert results["bits_per_dim"]["num_examples"] == 128 and 8 < results["bits_per_dim"]["mean"] < 16
    else:
        assert "bits_per_dim" not in results and hasattr(make_sde(config), "num_scales")


def test_every_family_of_networks_runs():
    assert {load(path).model.name.partition("_")[0] for path in OF_EACH_FAMILY} == {
        load(path).model.name.partition("_")[0] for path in PUBLISHED
    }
