"""The likelihood of a trained model in float32 and bfloat16."""

import json

import jax

import run_lib
from programs.run import Run
from tests.support.configs import load


def test_bits_per_dim_of_one_model_in_float32_and_bfloat16_agree(data_dir, tmp_path):
    config = load("configs/vp/digits_ddpmpp_continuous.py")
    config.data.data_dir = data_dir
    config.model.update(nf=16, ch_mult=(1, 2))
    config.training.update(n_iters=200, snapshot_freq=200, snapshot_freq_for_preemption=200, eval_freq=0)
    config.training.snapshot_sampling = False
    config.eval.update(begin_ckpt=1, end_ckpt=1, enable_loss=False, enable_sampling=False)
    run_lib.train_run(Run(config, str(tmp_path), jax.devices()[:1]))
    means = {}
    for dtype in ("float32", "bfloat16"):
        config.eval.bpd_dtype = dtype
        (path,) = run_lib.evaluate_run(Run(config, str(tmp_path), jax.devices()[:1]), f"eval_{dtype}")
        means[dtype] = json.loads(path.read_text())["results"]["bits_per_dim"]["mean"]
    assert means["float32"] < 4.0  # it has learned: uniform pixels have log2 17 = 4.09
    assert abs(means["bfloat16"] - means["float32"]) < 0.01
