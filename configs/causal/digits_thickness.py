"""A causal diffusion autoencoder of digits, 16x16, in which thick strokes are bright.

    python main.py --config=configs/causal/digits_thickness.py --workdir=DIR --mode=train

Sized for two CPU cores; see docs/causal.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.dit(config, size="S", patch_size=4)
    presets.pendulum(config)
    config.data.update(dataset="digits_thickness", image_size=16)
    config.causal.update(variables=("thickness", "intensity"), graph=("thickness->intensity",))
    config.model.update(nf=16, num_res_blocks=4, num_heads=4, qk_norm=True)
    return config
