"""A small EDM2 on scikit-learn's digits: magnitude-preserving layers and a learned weight of noise levels.

    python main.py --config=configs/edm2/digits.py --workdir=DIR --mode=train

Sized for two CPU cores; docs/recipes.md explains it.
"""

import math

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits(config)
    presets.edm2(config, size="XS")
    config.model.update(nf=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), sigma_max=30.0)
    presets.edm(config, sigma_data=0.7, p_mean=math.log(0.5))
    config.optim.update(lr=1e-2, warmup=50, decay_steps=200)
    config.training.update(n_iters=400, snapshot_freq=200)
    return config
