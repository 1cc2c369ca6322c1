"""NCSN++ on LSUN bedroom at 256 pixels with the VE SDE, continuous time.

    python main.py --config=configs/ve/bedroom_ncsnpp_continuous.py --workdir=DIR --mode=train

The paper shows samples and gives no number.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.lsun(config, "bedroom")
    presets.ve(config)
    presets.ncsnpp_256(config)
    return config
