"""Small tokenizer of scikit-learn's digits: 16 tokens of 16 codes, each of a 2x2 patch, for configs/mmar/digits_vq.py.

    python main.py --config=configs/mmar/digits_tokenizer.py --workdir=DIR --mode=train

Sized for two CPU cores.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits(config)
    presets.tokenizer(config, num_codes=16, factor=2)
    config.data.dataset = "digits_words"
    config.tokenizer.update(encoder="patch", decoder="patch", dim=4, num_blocks=1)
    config.model.nf = 32
    config.eval.update(features="pixels", metrics=("fid",))
    return config
