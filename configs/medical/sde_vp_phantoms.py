"""Small DDPM++ on slices of phantoms with the VP SDE: the prior of every reconstruction in docs/medical.md.

    python main.py --config=configs/medical/sde_vp_phantoms.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/medical.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.phantoms(config)
    presets.edm(config, sigma_data=0.53, p_mean=-1.6)
    config.sampling.update(predictor="ddim", eta=1.0, num_steps=40, grid="log_snr")
    return config
