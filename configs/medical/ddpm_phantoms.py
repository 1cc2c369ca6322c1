"""DDPM on slices of phantoms: the chain of the VP SDE with EDM's preconditioning, sampled by its ancestral steps.

    python main.py --config=configs/medical/ddpm_phantoms.py --workdir=DIR --mode=train

Sized for two CPU cores; see docs/medical.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.discrete(config)
    presets.ddpmpp(config)
    presets.phantoms(config)
    presets.preconditioned(config, sigma_data=0.53)
    config.model.num_scales = config.sampling.num_steps = 100
    return config
