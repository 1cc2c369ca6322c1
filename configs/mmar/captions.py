"""Images of your own at 32x32 with captions: a folder with captions.csv, or with a text file beside each image.

    python main.py --config=configs/mmar/captions.py --workdir=DIR --mode=train --config.data.dataset=folder:PATH

Tokens of texts are bytes, those of images patches of 4x4 pixels. Sized for two CPU cores; see docs/mmar.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.pictures(config)
    presets.masked_ar(config)
    config.model.update(nf=32, num_res_blocks=4, num_heads=4, dropout=0.1, patch_size=4, ema_rate=0.998)
    config.training.update(batch_size=32, n_iters=3000, snapshot_freq=1500, snapshot_freq_for_preemption=500)
    config.training.update(eval_freq=500, snapshot_num_samples=16)
    config.mmar.update(head_nf=32, first_stage_steps=1000, hidden_share=0.5, rounds=16)
    config.eval.update(batch_size=100, num_examples=200, divergence="exact", rtol=1e-3, atol=1e-3)
    config.eval.tasks = ("loss", "samples", "understanding")
    return config
