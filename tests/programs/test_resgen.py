"""Models of residual tokens through the programs: resumed, on several devices, evaluated, and refused."""

import json

import jax
import numpy as np
import pytest

from configs import presets
from data.readers.encoded import ABOUT
from programs import evaluate, restore_run
from programs.run import Run
from tests.support.latents import residual_tokens, started, trained
from tests.support.runs import cut, tiny


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Settings: a tokenizer at step 0, and random tokens as data."""
    return residual_tokens(tmp_path_factory)


def config_of(tokens, **settings):
    """Six steps of a model of random tokens, saved after three."""
    config = tiny(num_labels=10)
    presets.resgen(config)
    config.data.random_flip = False
    config.model.update(nf=2, num_heads=1, num_res_blocks=1, num_scales=3)
    config.training.update(batch_size=16, n_iters=6, log_freq=3, snapshot_freq=3, snapshot_freq_for_preemption=3)
    config.training.update(eval_freq=3, snapshot_sampling=False)
    config.eval.update(begin_ckpt=2, end_ckpt=2, num_samples=8, batch_size=64, num_probes=2)
    config.eval.update(enable_bpd=True, enable_sampling=True, features="pixels")
    config.update_from_flattened_dict({**tokens, **settings})
    return config


def test_a_run_resumes_bit_for_bit_trains_alike_on_eight_devices_and_is_evaluated(tokens, tmp_path):
    whole, parts, eight = (tmp_path / name for name in ("whole", "parts", "eight"))
    trained(config_of(tokens), whole)
    trained(config_of(tokens), cut(whole, 3, parts))
    trained(config_of(tokens), eight, 8)
    one, resumed, sharded = (jax.device_get(restore_run.restore(d).variables["params"]) for d in (whole, parts, eight))
    jax.tree.map(np.testing.assert_array_equal, one, resumed)
    lines = [[json.loads(line) for line in (d / "metrics.jsonl").read_text().splitlines()] for d in (whole, eight)]
    for a, b in zip(*lines, strict=True):
        for name in (name for name in a if "loss" in name):
            assert b[name] == pytest.approx(a[name], rel=1e-5), name
    assert jax.tree.structure(one) == jax.tree.structure(sharded)

    (report,) = evaluate.evaluate(evaluate.prepare(config_of(tokens), whole))
    found = json.loads(report.read_text())
    assert found["results"]["bits_per_dim"]["mean"] > 2  # random tokens of 8 codes have 3 bits each
    assert "bits/token" in [column["heading"] for column in found["columns"]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.stages": ()}, "needs the run of its stage 'tokenizer'; give it by config.model.stages"),
        ({"model.num_categories": 4}, "num_categories = 4, but the tokenizer has 8 codes; set it to 8"),
        (
            {"resgen.head": "autoregressive", "sampling.num_steps": 5},
            "num_steps = 5, .* one step for each of the 8 tok",
        ),
        ({"sampling.remasking": 0.5}, "config.sampling.remasking = 0.5 is for other kinds of models .* set it to 0.0"),
        ({"sampling.method": "pc"}, "config.sampling.method = 'pc' is not known; choose one of ancestral, confidence"),
        ({"sampling.guidance": "classifier"}, "config.sampling.guidance = 'classifier' is not known"),
        ({"training.objective": "mean_flow"}, "config.training.objective = 'mean_flow' is for other kinds of models"),
        ({"training.time_sampling": "importance"}, "'importance' is not known; choose one of uniform"),
        ({"model.num_heads": 3}, "num_heads = 3 heads of even size do not divide the width"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(tokens, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Run(config_of(tokens, **settings), str(tmp_path), jax.devices()[:1])


def test_reports_name_the_order_of_tokens_and_the_calls(tokens, tmp_path):
    found = {}
    for head in ("mixture", "autoregressive"):
        run = Run(config_of(tokens, **{"resgen.head": head}), str(tmp_path), jax.devices()[:1])
        found[head] = run.system.sampler_in_words
    assert found == {"mixture": "confidence, 3 steps", "autoregressive": "one token after the other, 8 steps"}


def test_tokens_of_another_depth_length_or_codebook_are_one_sentence(tokens, tmp_path, tmp_path_factory):
    for shape, num_codes in (((2, 2, 3), 8), ((4, 2, 2), 8), ((2, 2, 2), 16)):
        folder = tmp_path_factory.mktemp("others")
        about = {"dataset": "synthetic", "shape": shape, "num_codes": num_codes, "num_classes": 10, "tokenizer": None}
        (folder / ABOUT).write_text(json.dumps(about))
        for split in ("train", "test"):
            np.save(folder / f"{split}.npy", np.zeros((4, *shape), np.uint8))
            np.save(folder / f"{split}_labels.npy", np.zeros(4, np.int32))
        config = config_of(tokens, **{"data.dataset": f"encoded:{folder}"})
        with pytest.raises(
            ValueError, match=r"makes codes of shape \(2, 2, 2\) with 8 levels, but encoded:.*; give a tok"
        ):
            Run(config, str(tmp_path), jax.devices()[:1])


def test_a_tokenizer_of_single_tokens_is_refused(tokens, tmp_path, tmp_path_factory):
    stage = started(tmp_path_factory, "vq", num_codes=8, factor=4, reservoir=64)
    config = config_of(tokens, **{"model.stages": (f"tokenizer={stage}",), "data.dataset": "synthetic"})
    with pytest.raises(
        ValueError, match="quantizer = 'vq', but config.system = 'resgen' needs 'rvq'; name another run"
    ):
        Run(config, str(tmp_path), jax.devices()[:1])
