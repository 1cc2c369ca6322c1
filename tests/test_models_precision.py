"""Networks in bfloat16: what stays in float32, and what is converted, once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import build
from configs import presets
from models.precision import converted
from training.losses import make_loss_fn
from tests.test_configs import load

CASES = {
    "ncsnpp": ("configs/vp/smoke.py", {"attn_resolutions": (8,), "num_labels": 10}),
    "pyramids": (
        "configs/vp/smoke.py",
        {
            "ch_mult": (1, 2),
            "fir": True,
            "progressive": "output_skip",
            "progressive_input": "residual",
            "embedding_type": "fourier",
        },
    ),
    "ddpm": ("configs/vp/smoke.py", {"name": "ddpm", "attn_resolutions": (8,)}),
    "mlp": ("configs/vp/tumours_mlp.py", {"nf": 4, "num_res_blocks": 1}),
    "ncsn": ("configs/ve/ncsn/cifar10.py", {"nf": 4, "num_scales": 4}),
    "ncsnv2": ("configs/ve/ncsnv2/cifar10.py", {"nf": 4, "num_scales": 4}),
    "wideresnet": ("configs/vp/smoke.py", {"name": "wideresnet", "num_labels": 10, "channel_multiplier": 1}),
}
