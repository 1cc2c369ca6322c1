"""Residual tokens one after the other, in 64 network calls: a baseline of configs/resgen/digits.py.

    python main.py --config=configs/resgen/digits_autoregressive.py --workdir=DIR --mode=train

The tokenizer is configs/resgen/digits_tokenizer.py, trained in runs/digits_rvq; another run is named by
`--config.model.stages="('tokenizer=WORKDIR',)"`. Results are in docs/resgen.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits(config)
    presets.resgen(config)
    config.resgen.head = "autoregressive"
    config.model.stages = ("tokenizer=runs/digits_rvq",)
    return config
