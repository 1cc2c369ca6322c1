"""A small diffusion transformer on the pixels of a folder of your own images: large patches, and x0 as its output.

    python main.py --config=configs/flow/pictures_dit.py --workdir=DIR --mode=train --config.data.dataset=folder:PATH

PATH is your folder. Sized for two CPU cores.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.pictures(config)
    presets.flow(config)
    presets.dit(config, size="S", patch_size=8)
    # The noise is (x - mean_coeff x0) / std: neither trained nor sampled where std is small.
    config.model.update(nf=48, num_res_blocks=6, num_heads=6, parameterization="data", qk_norm=True)
    config.training.eps = 0.05
    config.sampling.eps = 0.05
    return config
