"""DDPM on CelebA-HQ at 256 pixels: 1000 noise levels.

    python main.py --config=configs/vp/ddpm/celebahq.py --workdir=DIR --mode=train

The papers show samples and give no number.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.celebahq(config)
    presets.vp(config)
    presets.discrete(config)
    presets.ddpm_256(config)
    return config
