"""NCSNv2 on CelebA at 64 pixels: 500 noise levels.

    python main.py --config=configs/ve/ncsnv2/celeba.py --workdir=DIR --mode=train

Published: FID 10.23 (Song and Ermon 2020, table 1).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.celeba(config)
    presets.ve(config)
    presets.ncsnv2(config)
    return config
