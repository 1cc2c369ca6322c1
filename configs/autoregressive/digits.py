"""Images and texts of scikit-learn's digits token by token: the 17 gray levels of 64 pixels, and three words.

    python main.py --config=configs/autoregressive/digits.py --workdir=DIR --mode=train

Sized for two CPU cores; see docs/autoregressive.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits_words(config)
    presets.autoregressive(config)
    config.model.update(nf=24, num_res_blocks=3, num_heads=4, dropout=0.2)
    config.training.update(n_iters=1500, snapshot_freq=750)
    config.eval.tasks = ("loss", "bits_per_dim", "understanding", "text_to_image")
    return config
