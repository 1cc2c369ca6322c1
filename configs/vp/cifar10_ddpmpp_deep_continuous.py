"""Deep DDPM++ on CIFAR-10 with the VP SDE, continuous time.

    python main.py --config=configs/vp/cifar10_ddpmpp_deep_continuous.py --workdir=DIR --mode=train

Published: FID 2.41 by predictor-corrector (table 3); 3.13 bits/dim with FID 3.08 by the ODE (table 2).
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.vp(config)
    presets.ddpmpp(config)
    presets.deep(config)
    return config
