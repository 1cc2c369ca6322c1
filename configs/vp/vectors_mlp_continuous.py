"""A residual perceptron for vectors, on measurements of tumors, with the VP SDE.

    python main.py --config=configs/vp/vectors_mlp_continuous.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/ranks.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.mlp(config)
    presets.vectors(config)
    return config
