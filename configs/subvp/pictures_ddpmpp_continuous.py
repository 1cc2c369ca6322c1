"""Small DDPM++ on a folder of your own pictures with the sub-VP SDE: the whole way in minutes.

    python main.py --config=configs/subvp/pictures_ddpmpp_continuous.py --workdir=DIR --mode=train --config.data.dataset=folder:PATH

PATH is your folder, and has to be said. Sized for two CPU cores; how far it comes is in docs/howto/data.md.
"""  # noqa: E501 (the command is one line of a table, too)

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.subvp(config)
    presets.ddpmpp(config)
    presets.pictures(config)
    return config
