"""Digits in one call of a network: a consistency model, from a model of flow matching.

    python main.py --config=configs/flow/consistency_digits.py --workdir=DIR --mode=train

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
    presets.few_steps(config, objective="consistency")
    config.training.update(batch_size=64, n_iters=1200, snapshot_freq=600)
    config.optim.update(lr=1e-3, warmup=20)
    # Halves of the way to the data by Heun's method; without examples of the velocity, which the teacher has.
    config.training.update(velocity="teacher", flow_share=0.0, first_gap=0.5, last_gap=0.5)
    return config
