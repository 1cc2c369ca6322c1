"""Texts and images token by token: experts in training, texts of images, images without texts, refused settings."""

import json

import jax
import numpy as np
import pytest

import run_lib
from programs import sample
from programs.run import Run
from tests.support.configs import load
from tests.support.runs import asked


def config_of(path="configs/autoregressive/digits_experts.py", **training):
    """Two steps of a model of a few thousand parameters."""
    config = load(path)
    config.model.update(nf=2, num_heads=1, num_res_blocks=1)
    config.training.update(batch_size=16, log_freq=1, eval_freq=0, snapshot_freq=2, snapshot_sampling=False)
    config.training.update(snapshot_freq_for_preemption=2, n_iters=2, **training)
    config.eval.batch_size = 8
    return config


def test_eight_devices_have_the_losses_of_one_and_texts_of_images_are_written(tmp_path):
    lines = {}
    for devices in (1, 8):
        folder = tmp_path / str(devices)
        run_lib.train_run(Run(config_of(), str(folder), jax.devices()[:devices]))
        lines[devices] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = ("loss", "loss/text", "loss/image", "loss/balance", "routing_entropy")
    one, eight = ([[line[name] for name in names] for line in lines[k] if "loss" in line] for k in (1, 8))
    np.testing.assert_allclose(eight, one, rtol=1e-4)  # sums in another order
    loss, text, image, balance, _ = one[0]
    assert loss == pytest.approx(text + image + 0.01 * balance, rel=1e-6)
    assert (text, image) == pytest.approx((np.log(15), np.log(17)), rel=1e-5)  # all is equally likely at first

    run = Run(config_of(), str(tmp_path / "1"), jax.devices()[:1])
    request = asked(run, "image_to_text", input="test:0,1", num_samples=1)
    directory = sample.execute(run, request, sample.prepare(run, request), output=str(tmp_path / "out"))
    found = np.load(directory / "samples.npz")
    assert found["tokens"].shape == (2, 1, 3) and (found["logp_nats"] < 0).all()


def test_images_without_texts(tmp_path):
    config = config_of("configs/autoregressive/digits.py")
    config.data.dataset = "digits"
    config.eval.tasks = ("loss", "bits_per_dim")
    run = Run(config, str(tmp_path), jax.devices()[:1])
    system = run.system
    assert list(system.requests) == ["unconditional"] and system.labels(0, 2) is None
    variables, keys = run.state().variables, system.sample_keys(1, 0, 2)
    batch = {"x": run.test.fetch(np.arange(2))["x"]}
    bits = system.bits_per_dim(variables["params"], keys, batch)["bits_per_dim"]
    np.testing.assert_allclose(bits, np.log2(17), rtol=1e-5)
    terms = system.objective(variables, keys, batch, None, 0)
    assert list(terms.losses) == ["image"]
    assert system.generate(variables, keys, None)["samples"].shape == (2, 8, 8, 1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model.name": "masked_ar"}, "config.model.name = 'masked_ar' is not known; choose one of autoregressive"),
        ({"data.uniform_dequantization": True}, "models levels or tokens, .*uniform_dequantization = True"),
        ({"model.num_labels": 10}, "conditions images on texts alone"),
        ({"model.num_heads": 3}, "num_heads = 3 does not divide the width"),
        ({"autoregressive.experts_per_token": 3}, "experts_per_token = 3, but it must be 1 or 2"),
        ({"sampling.guidance": "classifier_free"}, "config.sampling.guidance = 'classifier_free' is not known"),
    ],
)
def test_settings_that_do_not_fit_are_said_in_a_sentence(change, expected, tmp_path):
    config = config_of()
    config.update_from_flattened_dict(change)
    with pytest.raises(ValueError, match=expected):
        _ = Run(config, str(tmp_path), jax.devices()[:1]).system
