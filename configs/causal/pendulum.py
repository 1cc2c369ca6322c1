"""A causal diffusion autoencoder of images of a pendulum, a lamp and a shadow, 24x24.

    python main.py --config=configs/causal/pendulum.py --workdir=DIR --mode=train

Sized for two CPU cores; see docs/causal.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.dit(config, size="S", patch_size=4)
    presets.pendulum(config)
    config.model.update(nf=16, num_res_blocks=4, num_heads=4, qk_norm=True)
    return config
