"""Small DDPM++ on a folder of your own images by flow matching, in minutes.

    python main.py --config=configs/flow/pictures.py --workdir=DIR --mode=train --config.data.dataset=folder:PATH

PATH is your folder. Sized for two CPU cores.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ddpmpp(config)
    presets.pictures(config)
    presets.flow(config)
    return config
