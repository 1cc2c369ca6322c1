"""Small DDPM++ on scikit-learn's digits with the VP SDE.

    python main.py --config=configs/vp/digits_ddpmpp_continuous.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/samplers.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.digits(config)
    return config
