"""TSDiff on weekly carbon dioxide at Mauna Loa, with its gaps: four years of context, one of forecast.

    python main.py --config=configs/tsdiff/co2.py --workdir=DIR --mode=train

Sized for two CPU cores.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.discrete(config)
    presets.windows(config, context=208, horizon=52)
    config.data.update(dataset="series:co2", scale=0.01)
    return config
