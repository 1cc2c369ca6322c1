"""NCSN++ on CelebA-HQ at 1024 pixels with the VE SDE, continuous time.

    python main.py --config=configs/ve/celebahq_ncsnpp_continuous.py --workdir=DIR --mode=train

The paper shows samples and gives no number.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.celebahq(config, image_size=1024)
    presets.ve(config)
    presets.ncsnpp_1024(config)
    return config
