"""Small NCSN++ on slices of phantoms with the VE SDE, sampled by predictor and corrector.

    python main.py --config=configs/medical/sde_ve_phantoms.py --workdir=DIR --mode=train

Sized for two CPU cores; see docs/medical.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ve(config)
    presets.ddpmpp(config)
    presets.phantoms(config)
    presets.edm(config, sigma_data=0.27, p_mean=-1.7)
    config.training.p_std = 2.0  # 5% above 5, the deviation of the first principal component: the size of a head
    return config
