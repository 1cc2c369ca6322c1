"""DDPM's network on CIFAR-10 with SMLD's 1000 noise levels.

    python main.py --config=configs/ve/cifar10_ddpm.py --workdir=DIR --mode=train

Tables 2 and 3 of the paper give no number for this combination.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.ve(config)
    presets.discrete(config)
    presets.ddpm(config)
    return config
