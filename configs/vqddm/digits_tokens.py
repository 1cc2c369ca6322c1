"""Masked diffusion of the tokens of scikit-learn's digits, by a small transformer: 16 tokens of 64 codes.

    python main.py --config=configs/vqddm/digits_tokens.py --workdir=DIR --mode=train

The tokenizer is configs/vqddm/digits_tokenizer.py, trained in runs/digits_tokenizer; another run is named by
`--config.model.stages="('tokenizer=WORKDIR',)"`. Samples and metrics are those of the digits, bits those of the tokens.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.categorical_digits(config)
    config.model.update(stages=("tokenizer=runs/digits_tokenizer",), corruption="absorbing", num_categories=64)
    config.sampling.num_steps = 16
    config.eval.features = "pixels"
    return config
