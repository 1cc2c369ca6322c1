"""Small tokenizer of 32x32 crops of scikit-learn's two photographs: 8x8 tokens of 256 codes.

    python main.py --config=configs/vqddm/photos_tokenizer.py --workdir=DIR --mode=train

Sized for two CPU cores; results are in docs/tokenizers.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.photos(config)
    presets.tokenizer(config, num_codes=256, factor=4)
    config.tokenizer.update(dim=8, num_blocks=1)
    config.model.update(nf=32, ema_rate=0.99)
    config.training.update(batch_size=32, n_iters=1500, snapshot_freq=750, eval_freq=250)
    config.eval.update(features="thumbnails", metrics=("fid",), batch_size=100)
    return config
