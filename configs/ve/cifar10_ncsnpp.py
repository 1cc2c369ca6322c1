"""NCSN++ on CIFAR-10 with SMLD's 1000 noise levels.

    python main.py --config=configs/ve/cifar10_ncsnpp.py --workdir=DIR --mode=train

Published: FID 2.45, Inception score 9.73 by predictor-corrector (table 3).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.ve(config)
    presets.ncsnpp(config)
    presets.discrete(config)
    return config
