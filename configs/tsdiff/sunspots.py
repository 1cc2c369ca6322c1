"""TSDiff on yearly numbers of sunspots, 1700 to 2008: two cycles of context, two of forecast.

    python main.py --config=configs/tsdiff/sunspots.py --workdir=DIR --mode=train

Sized for two CPU cores; the test split has three windows. The train split has 232 values: longer contexts and longer
training fit what is particular to them.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.discrete(config)
    presets.windows(config, context=22, horizon=22, n_iters=1000)
    config.data.dataset = "series:sunspots"
    config.eval.season = 11
    return config
