"""NCSN on CelebA at 64 pixels: ten noise levels.

    python main.py --config=configs/ve/ncsn/celeba.py --workdir=DIR --mode=train

Published: FID 25.30 with denoising, 26.89 without (Song and Ermon 2020, table 1).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.celeba(config)
    presets.ve(config)
    presets.ncsn(config)
    return config
