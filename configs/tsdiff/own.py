"""TSDiff on your own series: .csv, .parquet, .npz or JSON lines.

    python main.py --config=configs/tsdiff/own.py --workdir=DIR --mode=train --config.data.dataset=series:FILE.csv

Windows are 72 values of context and 24 of forecast, of one channel: `--config.data.shape="(LENGTH, CHANNELS)"` and
`--config.data.horizon` set others. `--mode=inspect` suggests `data.offset` and `data.scale`. Sized for two CPU cores.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.discrete(config)
    presets.windows(config, context=72, horizon=24)
    config.data.dataset = ""  # the command says which file
    return config
