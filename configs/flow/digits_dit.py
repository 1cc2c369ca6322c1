"""A small diffusion transformer on scikit-learn's digits by flow matching.

    python main.py --config=configs/flow/digits_dit.py --workdir=DIR --mode=train

Sized for two CPU cores.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits(config)
    presets.flow(config)
    presets.dit(config, size="S", patch_size=2)
    config.model.update(nf=24, num_res_blocks=4, num_heads=4, qk_norm=True, ema_rate=0.995)
    config.optim.lr = 1e-3
    config.training.update(n_iters=2400, snapshot_freq=1200, snapshot_freq_for_preemption=200)
    return config
