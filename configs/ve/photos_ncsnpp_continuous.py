"""Small NCSN++ on crops of scikit-learn's photographs with the VE SDE.

    python main.py --config=configs/ve/photos_ncsnpp_continuous.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/restoration.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ve(config)
    presets.ncsnpp(config)
    presets.photos(config)
    return config
