"""DDPM on CIFAR-10 with the sub-VP SDE, continuous time.

    python main.py --config=configs/subvp/cifar10_ddpm_continuous.py --workdir=DIR --mode=train

Published: 3.05 bits/dim with FID 3.56 by the ODE (table 2).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.subvp(config)
    presets.ddpm(config)
    return config
