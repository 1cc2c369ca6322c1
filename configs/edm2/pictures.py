"""A small EDM2 on a folder of your own images, in minutes.

    python main.py --config=configs/edm2/pictures.py --workdir=DIR --mode=train --config.data.dataset=folder:PATH

PATH is your folder. Sized for two CPU cores.
"""

import math

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.pictures(config)
    presets.edm2(config, size="XS")
    config.model.update(nf=32, ch_mult=(1, 2, 2), num_res_blocks=1, attn_resolutions=(8,), sigma_max=50.0)
    presets.edm(config, sigma_data=0.66, p_mean=math.log(0.25))
    config.optim.update(lr=1e-2, warmup=50, decay_steps=300)
    return config
