"""Deep NCSN++ on CIFAR-10 with the VE SDE, continuous time.

    python main.py --config=configs/ve/cifar10_ncsnpp_deep_continuous.py --workdir=DIR --mode=train

Published: FID 2.20, Inception score 9.89 by predictor-corrector (table 3).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.ve(config)
    presets.ncsnpp(config)
    presets.deep(config)
    return config
