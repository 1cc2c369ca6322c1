"""A folder of your own images in one call of a network: a shortcut model, from a model of flow matching.

    python main.py --config=configs/flow/shortcut_images.py --workdir=DIR --mode=train --config.data.dataset=folder:PATH

PATH is your folder. Sized for two CPU cores. It starts from a run of configs/flow/pictures.py with
--config.training.init_from=RUN, as docs/recipes.md explains.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ddpmpp(config)
    presets.pictures(config)
    presets.flow(config)
    presets.few_steps(config, objective="shortcut")
    config.training.flow_share = 0.5
    return config
