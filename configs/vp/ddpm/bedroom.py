"""DDPM on LSUN bedroom at 256 pixels: 1000 noise levels.

    python main.py --config=configs/vp/ddpm/bedroom.py --workdir=DIR --mode=train

Published: FID 6.36 (Ho et al. 2020, table 3; the original code).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.lsun(config, "bedroom")
    presets.vp(config)
    presets.discrete(config)
    presets.ddpm_256(config)
    return config
