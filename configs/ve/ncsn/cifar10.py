"""NCSN on CIFAR-10: ten noise levels.

    python main.py --config=configs/ve/ncsn/cifar10.py --workdir=DIR --mode=train

Published: FID 25.32, Inception score 8.87 (Song and Ermon 2019, table 1), without denoising at the end.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.ve(config)
    presets.ncsn(config)
    return config
