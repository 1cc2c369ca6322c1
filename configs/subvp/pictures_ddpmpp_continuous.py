"""Small DDPM++ on a folder of your own images with the sub-VP SDE, in minutes.

    python main.py --config=configs/subvp/pictures_ddpmpp_continuous.py --workdir=DIR --mode=train --config.data.dataset=folder:PATH

PATH is your folder. Sized for two CPU cores; results are in docs/howto/data.md.
"""  # noqa: E501 (the command is also a row of a table)

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.subvp(config)
    presets.ddpmpp(config)
    presets.pictures(config)
    return config
