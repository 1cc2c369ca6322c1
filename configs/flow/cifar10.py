"""DDPM++ on CIFAR-10 by flow matching.

    python main.py --config=configs/flow/cifar10.py --workdir=DIR --mode=train

Published: FID 6.35, 2.99 bits/dim by the ODE (Lipman et al. 2023, table 1), with another network.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.ddpmpp(config)
    presets.flow(config)
    return config
