"""The model of configs/mmar/digits.py with tokens of a codebook instead of patches, for comparison.

    python main.py --config=configs/mmar/digits_vq.py --workdir=DIR --mode=train

The tokenizer is configs/mmar/digits_tokenizer.py, trained in runs/digits_words_tokenizer; another run is named by
`--config.model.stages="('tokenizer=WORKDIR',)"`. Sized for two CPU cores; see docs/mmar.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits_words(config)
    config.model.stages = ("tokenizer=runs/digits_words_tokenizer",)
    config.mmar.head = "categories"
    config.eval.tasks = ("loss", "bits_per_dim", "understanding", "head_likelihood")
    return config
