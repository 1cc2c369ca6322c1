"""TSDiff on monthly sea surface temperatures, 1950 to 2010: four years of context, one of forecast.

    python main.py --config=configs/tsdiff/elnino.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/series.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.discrete(config)
    presets.windows(config, context=48, horizon=12)
    config.data.update(dataset="series:elnino", scale=0.1)
    return config
