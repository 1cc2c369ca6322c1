"""Variational diffusion on scikit-learn's digits: the noise schedule is learned with the network.

    python main.py --config=configs/vdm/digits.py --workdir=DIR --mode=train

Sized for two CPU cores; docs/recipes.md explains it.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ddpmpp(config)
    presets.digits(config)
    presets.variational(config, schedule="learned")
    config.model.log_snr_max = 7.8  # as 13.3 for 256 levels: a level is 6 standard deviations from the next
    config.training.update(n_iters=600, snapshot_freq=300)
    return config
