"""NCSNv2 on CIFAR-10: 232 noise levels.

    python main.py --config=configs/ve/ncsnv2/cifar10.py --workdir=DIR --mode=train

Published: FID 10.87, Inception score 8.40 (Song and Ermon 2020, table 1).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.ve(config)
    presets.ncsnv2(config)
    return config
