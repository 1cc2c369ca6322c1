"""A check of all programs in seconds: ten steps of a tiny DDPM++ on the digits, with the VP SDE.

    python main.py --config=configs/vp/smoke.py --workdir=DIR --mode=train

It only checks that the programs run; its samples mean nothing.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.smoke(config)
    return config
