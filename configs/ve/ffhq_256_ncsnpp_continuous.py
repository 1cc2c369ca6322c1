"""NCSN++ on FFHQ at 256 pixels with the VE SDE, continuous time.

    python main.py --config=configs/ve/ffhq_256_ncsnpp_continuous.py --workdir=DIR --mode=train

The paper gives no number.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ffhq(config)
    presets.ve(config)
    presets.ncsnpp_256(config)
    config.model.sigma_max = 348.0
    return config
