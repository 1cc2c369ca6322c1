"""A published experiment of each family of networks is trained, sampled from and measured by the programs."""

import json

import jax
import numpy as np
import pytest

import run_lib
from builders.process import make_sde
from programs.run import Run
from tests.support.configs import PUBLISHED, load
from tests.support.experiments import expected_calls, shrunken


@pytest.fixture(autouse=True, scope="module")
def _random_bits_that_compile_quickly():
    with jax.default_prng_impl("unsafe_rbg"):
        yield


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


def test_a_u_net_of_series_is_trained_sampled_and_measured(tmp_path):
    config = load("configs/vp/smoke.py")
    config.data.update(dataset="synthetic", shape=(16, 2), centered=True)
    config.model.update(ch_mult=(1, 2), attn_resolutions=(8,))
    config.sampling.corrector = "langevin"
    config.training.update(n_iters=20, snapshot_freq=20, snapshot_freq_for_preemption=20, snapshot_sampling=False)
    config.eval.update(batch_size=64, num_samples=4, rtol=0.1, atol=0.1)
    run = Run(config, str(tmp_path), jax.devices()[:1])
    run_lib.train_run(run)
    (report,) = run_lib.evaluate_run(run)
    bits = json.loads(report.read_text())["results"]["bits_per_dim"]
    assert np.load(report.with_name("samples.npz"))["arr_0"].shape == (4, 16, 2)
    assert bits["num_examples"] == 128 and 8 < bits["mean"] < 16
