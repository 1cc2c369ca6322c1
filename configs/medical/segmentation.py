"""Masks of lesions, conditioned on the slice that has them: the image enters as a further channel.

    python main.py --config=configs/medical/segmentation.py --workdir=DIR --mode=train

Samples of the mask of one slice are an ensemble of segmentations; see docs/medical.md.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.vp(config)
    presets.ddpmpp(config)
    presets.phantoms(config, "phantoms_segmentation")
    presets.edm(config, sigma_data=0.24, p_mean=1.0)  # a lesion of 30 pixels is found at noise of 1 to 10
    config.model.conditions = ("image[64,64,1]/256:concat",)
    config.sampling.update(method="solver", solver="dpmpp_2m", num_steps=20, grid="log_snr")
    config.eval.update(tasks=("segmentation",), enable_sampling=False, enable_metrics=False, posterior_samples=8)
    return config
