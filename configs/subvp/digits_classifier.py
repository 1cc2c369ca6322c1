"""Small noise-conditional Wide ResNet on scikit-learn's digits, to guide models of these data with any SDE.

    python main.py --config=configs/subvp/digits_classifier.py --workdir=DIR --mode=train

    python main.py --workdir=DIR --mode=eval

measures its loss and its accuracy for images without noise. To use it, add
`--config.sampling.guidance=classifier --config.sampling.guide_workdir=DIR` to a command with a score model's config.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.subvp(config)
    presets.digits(config)
    presets.classifier(config)
    config.model.update(num_labels=10, blocks_per_group=1, channel_multiplier=2)
    config.training.update(n_iters=400, snapshot_freq=400)
    config.eval.update(begin_ckpt=1, end_ckpt=1, tasks=("loss", "accuracy"))
    return config
