"""NCSN++ on FFHQ at 1024 pixels with the VE SDE, continuous time.

    python main.py --config=configs/ve/ffhq_ncsnpp_continuous.py --workdir=DIR --mode=train

The paper gives no number.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ffhq(config, image_size=1024)
    presets.ve(config)
    presets.ncsnpp_1024(config)
    config.training.reduce_mean = True
    return config
