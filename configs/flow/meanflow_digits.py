"""Digits in one call of a network: average velocities by mean flows, from a model of flow matching.

    python main.py --config=configs/flow/meanflow_digits.py --workdir=DIR --mode=train

Sized for two CPU cores. It distills a run of configs/flow/digits.py, from which it also starts: add
`--config.model.stages="('teacher=RUN',)" --config.training.init_from=RUN`, as docs/recipes.md explains.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ddpmpp(config)
    presets.digits(config)
    presets.flow(config)
    presets.few_steps(config, objective="mean_flow")
    config.training.update(batch_size=64, n_iters=2000, snapshot_freq=1000)
    config.optim.update(lr=1e-3, warmup=20)
    config.training.velocity = "teacher"
    return config
