"""Every config trains: each published experiment, made small, through the programs."""

import json

import jax
import numpy as np
import pytest

import run_lib
from builders.process import make_sde
from configs import default
from programs.run import Run
from tests.support.configs import PUBLISHED, load


@pytest.fixture(autouse=True, scope="module")
def _random_bits_that_compile_quickly():
    with jax.default_prng_impl("unsafe_rbg"):
        yield


def shrunken(path):
    """The experiment with what makes it large taken away; network, SDE, levels and sampler stay what they are.

    Settings that only scale a number (the learning rate, say) become equal, so that many experiments become one.
    """
    config = load(path)
    config.data.update(dataset="synthetic", image_size=8, category=None)
    config.model.update(nf=8, num_scales=6, beta_max=4.0, sigma_max=10.0, ema_rate=0.9, dropout=0.1)
    if config.model.name in ("ncsnpp", "ddpm"):
        config.model.update(ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=())
    config.optim.update(lr=1e-3, warmup=min(config.optim.warmup, 2))
    config.sampling.update(snr=0.1, n_steps_each=min(config.sampling.n_steps_each, 2))
    config.training.update(
        batch_size=8, reduce_mean=True, n_iters=2, log_freq=1, snapshot_freq=2, snapshot_freq_for_preemption=2
    )
    config.training.update(eval_freq=0, snapshot_sampling=False, n_jitted_steps=1)
    config.eval.update(begin_ckpt=1, end_ckpt=1, batch_size=64, num_samples=8, wait_seconds=1.0, rtol=0.1, atol=0.1)
    config.eval.update(enable_loss=False, enable_sampling=True, enable_bpd=config.training.continuous)
    return config


def groups():
    """{a shrunken config as JSON: the experiments that become it}."""
    found = {}
    for path in PUBLISHED:
        found.setdefault(json.dumps(default.to_json(shrunken(path)), sort_keys=True), []).append(path)
    return found


GROUPS = groups()


def test_every_experiment_is_one_of_those_that_run():
    assert sorted(path for paths in GROUPS.values() for path in paths) == PUBLISHED
    assert len(PUBLISHED) == 39 and len(GROUPS) < 20


def variety(config):
    """What must not be lost in shrinking."""
    model, sampling = config.model, config.sampling
    networks = (model.name, model.progressive, model.progressive_input, model.fir, model.conditional)
    return *networks, config.training.sde, config.training.continuous, sampling.predictor, sampling.corrector


def test_the_small_experiments_are_as_various_as_the_published_ones():
    assert {variety(load(path)) for path in PUBLISHED} == {variety(shrunken(paths[0])) for paths in GROUPS.values()}


@pytest.mark.parametrize("paths", GROUPS.values(), ids=lambda paths: paths[0])
def test_it_takes_two_steps_samples_and_has_a_likelihood(paths, tmp_path):
    config = shrunken(paths[0])
    run = Run(config, str(tmp_path), jax.devices()[:1])
    run_lib.train(run)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(np.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in lines)
    (report,) = run_lib.evaluate(run)
    results = json.loads(report.read_text())["results"]
    samples = np.load(report.parent / "samples.npz")["arr_0"]
    assert samples.shape == (8, 8, 8, 3) and len(np.unique(samples)) > 1
    steps = config.model.num_scales
    predicted, corrected = config.sampling.predictor != "none", config.sampling.corrector != "none"
    expected = steps * (predicted + corrected * config.sampling.n_steps_each)
    assert expected <= results["samples"]["num_evals"] <= expected + 1  # one more where the denoising is a call
    if config.training.continuous:
        # Uniform pixels have 8 bits/dim, no model has fewer; one that knows nothing of them has some more.
        assert results["bits_per_dim"]["num_examples"] == 128 and 8 < results["bits_per_dim"]["mean"] < 16
    else:
        assert "bits_per_dim" not in results and hasattr(make_sde(config), "num_scales")
