"""Masked diffusion of the 17 gray levels of scikit-learn's digits, by a small transformer, by class or without.

    python main.py --config=configs/vqddm/digits_absorbing.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/categories.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.categorical_digits(config)
    config.model.update(corruption="absorbing", num_labels=10, label_dropout=0.5)
    config.training.update(n_iters=1000, snapshot_freq=500)
    return config
