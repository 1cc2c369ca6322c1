"""Masked diffusion of the tokens of CIFAR-10 by a transformer: 8x8 tokens of 1,024 codes.

    python main.py --config=configs/vqddm/cifar10_tokens.py --workdir=DIR --mode=train

Full size; it has not been trained here. The tokenizer is configs/vqddm/cifar10_tokenizer.py, trained in
runs/cifar10_tokenizer.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.cifar10(config)
    presets.categorical(config)
    config.model.update(stages=("tokenizer=runs/cifar10_tokenizer",), corruption="absorbing", num_categories=1024)
    config.model.update(nf=128, num_res_blocks=12, num_heads=8, dropout=0.1, ema_rate=0.9999)
    config.optim.update(lr=2e-4, warmup=5000, weight_decay=0.01)
    config.sampling.num_steps = 64
    config.eval.num_probes = 16
    return config
