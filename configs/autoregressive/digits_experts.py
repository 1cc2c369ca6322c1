"""The model of configs/autoregressive/digits.py with a mixture of four experts in place of each perceptron.

    python main.py --config=configs/autoregressive/digits_experts.py --workdir=DIR --mode=train

Each token goes through one of them. Sized for two CPU cores; see docs/autoregressive.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits_words(config)
    presets.autoregressive(config, num_experts=4)
    config.model.update(nf=24, num_res_blocks=3, num_heads=4, dropout=0.2)
    config.training.update(n_iters=1500, snapshot_freq=750)
    config.eval.tasks = ("loss", "bits_per_dim", "understanding", "text_to_image", "routing")
    return config
