"""NCSN++ on CIFAR-10 with the sub-VP SDE, continuous time.

    python main.py --config=configs/subvp/cifar10_ncsnpp_continuous.py --workdir=DIR --mode=train

The paper gives no number for this combination in its tables.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.subvp(config)
    presets.ncsnpp(config)
    return config
