"""Small DDPM++ on whole heads of phantoms in 16x16x16 voxels with the VP SDE.

    python main.py --config=configs/medical/volumes.py --workdir=DIR --mode=train

Sized for two CPU cores; see docs/medical.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.volumes(config)
    config.data.update(dataset="phantoms_16", uniform_dequantization=False)
    config.model.sigma_data = 0.39
    config.eval.enable_bpd = False
    return config
