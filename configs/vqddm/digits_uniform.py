"""Diffusion of the 17 gray levels of scikit-learn's digits with uniform noise, by a small transformer.

    python main.py --config=configs/vqddm/digits_uniform.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/categories.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.categorical_digits(config)
    config.model.corruption = "uniform"
    return config
