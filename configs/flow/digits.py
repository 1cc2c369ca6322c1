"""Small DDPM++ on scikit-learn's digits by flow matching.

    python main.py --config=configs/flow/digits.py --workdir=DIR --mode=train

Sized for two CPU cores; docs/recipes.md explains it.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ddpmpp(config)
    presets.digits(config)
    presets.flow(config)
    return config
