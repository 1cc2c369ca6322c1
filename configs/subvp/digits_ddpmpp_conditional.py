"""Small class-conditional DDPM++ on scikit-learn's digits with the sub-VP SDE.

    python main.py --config=configs/subvp/digits_ddpmpp_conditional.py --workdir=DIR --mode=train

A tenth of the class labels are dropped in training, for classifier-free guidance.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.subvp(config)
    presets.ddpmpp(config)
    presets.digits(config)
    config.model.num_labels = 10
    config.sampling.update(guidance="classifier_free", guidance_scale=2.0)
    return config
