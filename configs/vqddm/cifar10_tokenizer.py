"""Tokenizer of CIFAR-10: 8x8 tokens of 1,024 codes, by moving average with restarts.

    python main.py --config=configs/vqddm/cifar10_tokenizer.py --workdir=DIR --mode=train

Full size; it has not been trained here.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.tokenizer(config, num_codes=1024, factor=4)
    config.tokenizer.update(dim=32, num_blocks=2, codebook="average", restart_below=0.1, reservoir=100_000)
    config.model.update(nf=128, ema_rate=0.999)
    config.training.n_iters = 200_001
    config.eval.update(begin_ckpt=4, end_ckpt=4)
    return config
