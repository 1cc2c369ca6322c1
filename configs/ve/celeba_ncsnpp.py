"""NCSN++ on CelebA at 64 pixels with SMLD's 1000 noise levels.

    python main.py --config=configs/ve/celeba_ncsnpp.py --workdir=DIR --mode=train

The paper gives no number in its tables.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.celeba(config)
    presets.ve(config)
    presets.ncsnpp(config)
    presets.discrete(config)
    config.sampling.snr = 0.17
    return config
