"""DDPM on CIFAR-10 with a network that is not conditioned on the noise level.

    python main.py --config=configs/vp/ddpm/cifar10_unconditional.py --workdir=DIR --mode=train

The paper gives no number for this combination.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.vp(config)
    presets.discrete(config)
    presets.ddpm(config)
    config.model.conditional = False
    return config
