"""NCSN on slices of phantoms: levels of the VE SDE, EDM's preconditioning, annealed Langevin dynamics alone.

    python main.py --config=configs/medical/ncsn_phantoms.py --workdir=DIR --mode=train

Sized for two CPU cores; see docs/medical.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ve(config)
    presets.discrete(config)
    presets.ddpmpp(config)
    presets.phantoms(config)
    presets.preconditioned(config, sigma_data=0.27)
    config.model.num_scales = 100
    config.training.reduce_mean = True
    config.sampling.update(predictor="none", corrector="ald", snr=0.176, n_steps_each=3, num_steps=100)
    return config
