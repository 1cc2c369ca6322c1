"""NCSN on CIFAR-10 with techniques 1, 2 and 4 of NCSNv2: its noise levels and Langevin steps.

    python main.py --config=configs/ve/ncsn/cifar10_124.py --workdir=DIR --mode=train

The paper (Song and Ermon 2020) compares such groups in a figure and gives no number in its tables.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.ve(config)
    presets.ncsn(config)
    presets.technique_124(config)
    return config
