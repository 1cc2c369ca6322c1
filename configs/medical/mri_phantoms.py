"""Small DDPM++ on complex slices of phantoms, a real and an imaginary part, with the VP SDE.

    python main.py --config=configs/medical/mri_phantoms.py --workdir=DIR --mode=train

To reconstruct: --mode=sample --task=reconstruct with --config.restore.operator=complex_fourier or sense; see
docs/medical.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.phantoms(config, "phantoms_complex")
    presets.edm(config, sigma_data=0.23, p_mean=-2.3)
    config.training.p_std = 1.8
    config.sampling.update(predictor="ddim", eta=1.0, num_steps=40, grid="log_snr")
    config.restore.operator = "complex_fourier"
    return config
