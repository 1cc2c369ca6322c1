"""Small NCSN++ on scikit-learn's digits with the VE SDE.

    python main.py --config=configs/ve/digits_ncsnpp_continuous.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/samplers.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ve(config)
    presets.ncsnpp(config)
    presets.digits(config)
    return config
