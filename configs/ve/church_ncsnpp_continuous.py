"""NCSN++ on LSUN church at 256 pixels with the VE SDE, continuous time.

    python main.py --config=configs/ve/church_ncsnpp_continuous.py --workdir=DIR --mode=train

The paper shows samples and gives no number.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.lsun(config, "church_outdoor")
    presets.ve(config)
    presets.ncsnpp_256(config)
    config.model.sigma_max = 380.0
    return config
