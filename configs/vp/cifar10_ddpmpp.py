"""DDPM++ on CIFAR-10 with DDPM's 1000 noise levels.

    python main.py --config=configs/vp/cifar10_ddpmpp.py --workdir=DIR --mode=train

Published: FID 2.78, Inception score 9.64 (table 3).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.vp(config)
    presets.ddpmpp(config)
    presets.discrete(config)
    return config
