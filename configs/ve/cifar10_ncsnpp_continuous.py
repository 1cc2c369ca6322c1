"""NCSN++ on CIFAR-10 with the VE SDE, continuous time.

    python main.py --config=configs/ve/cifar10_ncsnpp_continuous.py --workdir=DIR --mode=train

Published: FID 2.38, Inception score 9.83 by predictor-corrector (table 3).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.ve(config)
    presets.ncsnpp(config)
    return config
