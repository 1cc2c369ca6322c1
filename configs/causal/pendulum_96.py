"""A causal diffusion autoencoder of the pendulum at 96x96, about as published; not trained here.

    python main.py --config=configs/causal/pendulum_96.py --workdir=DIR --mode=train

A U-Net of 128 channels, three blocks per resolution, 128 numbers per variable, labels with unit variance.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.pendulum(config, image_size=96)
    config.model.update(nf=128, ch_mult=(1, 1, 2, 3, 4), num_res_blocks=3, attn_resolutions=(12, 6), ema_rate=0.9999)
    config.causal.update(encoder="conv", encoder_factor=16, encoder_nf=64, dim=128, entry="norm", label_std=1.0)
    config.optim.update(lr=1e-4, warmup=5000, schedule="constant")
    config.training.update(batch_size=64, n_iters=200_001, snapshot_freq=50_000, snapshot_freq_for_preemption=5000)
    config.training.update(eval_freq=1000, loss_weights=("noise_kl=0:1e-3@0:50000", "label_kl=0:1e-3@0:50000"))
    config.sampling.update(rtol=1e-4, atol=1e-4)
    return config
