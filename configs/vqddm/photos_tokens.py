"""Masked diffusion of the tokens of 32x32 crops of scikit-learn's two photographs: 8x8 tokens of 256 codes.

    python main.py --config=configs/vqddm/photos_tokens.py --workdir=DIR --mode=train

The tokenizer is configs/vqddm/photos_tokenizer.py, trained in runs/photos_tokenizer; another run is named by
`--config.model.stages="('tokenizer=WORKDIR',)"`.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.photos(config)
    presets.categorical(config)
    config.model.update(stages=("tokenizer=runs/photos_tokenizer",), corruption="absorbing", num_categories=256)
    config.model.update(nf=32, num_res_blocks=4, num_heads=4, dropout=0.1, ema_rate=0.995)
    config.training.update(batch_size=64, n_iters=2000, snapshot_freq=1000, eval_freq=250)
    config.sampling.num_steps = 64
    config.eval.update(enable_bpd=True, enable_sampling=True, features="thumbnails", num_probes=16)
    return config
