"""The model of healthy slices of sde_vp_phantoms.py, evaluated by how it finds 200 lesions.

    python main.py --config=configs/medical/anomaly.py --workdir=DIR --mode=train

To evaluate: `python main.py --workdir=DIR --mode=eval`. A workdir of sde_vp_phantoms.py is trained in the same way and
serves as well; see docs/medical.md.
"""

from ml_collections import ConfigDict

from configs.medical import sde_vp_phantoms


def get_config() -> ConfigDict:
    config = sde_vp_phantoms.get_config()
    config.eval.update(tasks=("anomaly",), enable_sampling=False, enable_metrics=False, posterior_samples=4)
    return config
