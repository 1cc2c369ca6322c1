"""Small DDPM++ for series, on weekly carbon dioxide at Mauna Loa, with the VP SDE.

    python main.py --config=configs/vp/series_ddpmpp_continuous.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/ranks.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.series(config)
    return config
