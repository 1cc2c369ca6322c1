"""TSDiff at its published size, on hourly series of your own: two weeks of context, a day of forecast, ten lags.

    python main.py --config=configs/tsdiff/published.py --workdir=DIR --mode=train --config.data.dataset=series:FILE.csv

`--mode=inspect` suggests `data.offset` and `data.scale`.
For an accelerator: 128,000 steps with batches of 64 windows of length 360.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.discrete(config)
    presets.windows(config, context=336, horizon=24)
    config.data.update(dataset="", shape=(360, 11), num_channels=11, lags="frequency", offset=0.0)
    config.model.update(nf=64, num_res_blocks=3, state_size=128, ema_rate=0.9999)
    config.optim.update(schedule="constant", warmup=0)
    config.training.update(n_iters=128_000, snapshot_freq=32_000, snapshot_freq_for_preemption=2000, eval_freq=1000)
    config.eval.update(begin_ckpt=4, end_ckpt=4)
    return config
