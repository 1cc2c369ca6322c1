"""DDPM on LSUN church at 256 pixels: 1000 noise levels.

    python main.py --config=configs/vp/ddpm/church.py --workdir=DIR --mode=train

Published: FID 7.89 (Ho et al. 2020, table 3; the original code).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.lsun(config, "church_outdoor")
    presets.vp(config)
    presets.discrete(config)
    presets.ddpm_256(config)
    return config
