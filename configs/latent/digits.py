"""Small score model of the latents of an auto-encoder of scikit-learn's digits, with the sub-VP SDE.

    python main.py --config=configs/latent/digits.py --workdir=DIR --mode=train

The auto-encoder is configs/latent/digits_autoencoder.py, trained in runs/digits_autoencoder; another run is named by
`--config.model.stages="('tokenizer=WORKDIR',)"`. Samples, metrics and bits/dim are those of the digits, as in
configs/subvp/digits_ddpmpp_continuous.py; results are in docs/tokenizers.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.subvp(config)
    presets.ddpmpp(config)
    presets.digits(config)
    config.model.stages = ("tokenizer=runs/digits_autoencoder",)
    config.model.update(attn_resolutions=(2,))
    return config
