"""NCSNv2 on LSUN bedroom at 128 pixels: 1086 noise levels.

    python main.py --config=configs/ve/ncsnv2/bedroom.py --workdir=DIR --mode=train

The paper shows samples and gives no number.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.lsun(config, "bedroom", image_size=128)
    presets.ve(config)
    presets.ncsnv2(config)
    config.model.update(name="ncsnv2_128", ema_rate=0.9999)
    config.training.batch_size = 128
    return config
