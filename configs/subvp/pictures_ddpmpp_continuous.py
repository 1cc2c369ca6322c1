"""Small DDPM++ on a folder of your own pictures with the sub-VP SDE: the whole way in minutes.

    python main.py --config=configs/subvp/pictures_ddpmpp_continuous.py --workdir=DIR --mode=train

PATH has to be said: `--config.data.dataset=folder:PATH`. Sized for two CPU cores; how far it comes is in
docs/howto/data.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.subvp(config)
    presets.ddpmpp(config)
    presets.pictures(config)
    return config
