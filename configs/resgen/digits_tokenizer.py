"""Residual quantization of 2x2 patches of scikit-learn's digits: 16 positions, 4 tokens of 16 codes each.

    python main.py --config=configs/resgen/digits_tokenizer.py --workdir=DIR --mode=train

The codebooks are those of k-means, a level at a time, which training adjusts; nothing else is learned. Results are in
docs/resgen.md. With `--config.tokenizer.encoder=patch --config.tokenizer.decoder=conv` networks are learned, too.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.digits(config)
    presets.tokenizer(config, num_codes=16, factor=2)
    config.tokenizer.update(quantizer="rvq", encoder="raw", decoder="raw", dim=4, depth=4, reservoir=20_000)
    config.model.nf = 32
    config.optim.lr = 1e-4
    config.training.update(n_iters=100, snapshot_freq=100, eval_freq=50)
    config.eval.update(begin_ckpt=1, end_ckpt=1, features="pixels", metrics=("fid",))
    return config
