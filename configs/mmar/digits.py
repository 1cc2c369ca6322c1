"""Images and texts of scikit-learn's digits by one model: masked image tokens by a diffusion head, causal words.

    python main.py --config=configs/mmar/digits.py --workdir=DIR --mode=train

Image tokens are patches of 2x2 pixels. Sized for two CPU cores; see docs/mmar.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits_words(config)
    return config
