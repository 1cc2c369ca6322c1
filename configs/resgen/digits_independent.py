"""Each masked residual token by itself, in 8 rounds: a baseline of configs/resgen/digits.py.

    python main.py --config=configs/resgen/digits_independent.py --workdir=DIR --mode=train

The tokenizer is configs/resgen/digits_tokenizer.py, trained in runs/digits_rvq; another run is named by
`--config.model.stages="('tokenizer=WORKDIR',)"`. Results are in docs/resgen.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits(config)
    presets.resgen(config)
    config.resgen.head = "independent"
    config.model.stages = ("tokenizer=runs/digits_rvq",)
    config.sampling.update(method="ancestral", guidance="classifier_free", guidance_scale=2.0, temperature=0.5)
    return config
