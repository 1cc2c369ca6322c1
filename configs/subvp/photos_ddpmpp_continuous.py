"""Small DDPM++ on crops of scikit-learn's photographs with the sub-VP SDE.

    python main.py --config=configs/subvp/photos_ddpmpp_continuous.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/restoration.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.subvp(config)
    presets.ddpmpp(config)
    presets.photos(config)
    return config
