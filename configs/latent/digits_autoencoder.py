"""Small continuous auto-encoder of scikit-learn's digits: 4x4 latents of 2 channels, half as many numbers as pixels.

    python main.py --config=configs/latent/digits_autoencoder.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/tokenizers.md. With
`--config.tokenizer.quantizer=pca --config.tokenizer.dim=4 --config.training.loss_weights="()"` it is a rotation of the
pixels, in closed form.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits(config)
    presets.tokenizer(config, num_codes=1, factor=2)
    config.tokenizer.update(quantizer="kl", dim=2)
    config.model.nf = 32
    config.training.loss_weights = ("kl=0.001",)
    config.eval.update(features="pixels", metrics=("fid",))
    return config
