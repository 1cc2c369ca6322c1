"""Small tokenizer of scikit-learn's digits: 16 tokens of 64 codes, each of a 2x2 patch.

    python main.py --config=configs/vqddm/digits_tokenizer.py --workdir=DIR --mode=train

ReFiT is a second stage; see docs/tokenizers.md, where results are, too. Sized for two CPU cores.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits(config)
    presets.tokenizer(config, num_codes=64, factor=2)
    config.tokenizer.update(encoder="patch", decoder="conv", dim=4, num_blocks=1)
    config.model.nf = 32
    config.eval.update(features="pixels", metrics=("fid",))
    return config
