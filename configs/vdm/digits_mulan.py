"""As `configs/vdm/digits.py`, where how fast noise comes to each pixel depends on a latent of the image (MuLAN).

    python main.py --config=configs/vdm/digits_mulan.py --workdir=DIR --mode=train

Sized for two CPU cores; docs/recipes.md explains it.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ddpmpp(config)
    presets.digits(config)
    presets.variational(config, schedule="learned")
    config.system = "adaptive_noise"
    config.model.log_snr_max = 7.8  # as 13.3 for 256 levels: a level is 6 standard deviations from the next
    config.sampling.update(method="pc", predictor="ancestral_sampling", grid="uniform", num_steps=100)
    config.training.update(n_iters=600, snapshot_freq=300)
    return config
