"""Masked diffusion of the 256 levels of CIFAR-10, full size.

    python main.py --config=configs/vqddm/cifar10_absorbing.py --workdir=DIR --mode=train

Published: 2.75 bits/dim (Shi et al. 2024, abstract), with another network.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.categorical(config)
    config.model.update(corruption="absorbing", schedule="linear", num_categories=256, output="logistic")
    config.model.update(nf=192, num_res_blocks=16, num_heads=12, dropout=0.1, ema_rate=0.9999, remat=True)
    config.optim.update(lr=2e-4, warmup=5000, weight_decay=0.01)
    config.sampling.num_steps = 256
    config.eval.update(num_probes=16)
    return config
