"""NCSN++ for complex slices of the fastMRI knee data at 320x320 with the VE SDE, at full size.

    python main.py --config=configs/medical/fastmri_knee.py --workdir=DIR --mode=train --config.data.dataset=scans:PATH

The folder has the HDF5 files of one coil, whose k-space becomes slices of two channels, cropped to their center. This
was not trained here.
"""

from ml_collections import ConfigDict

from configs import default, presets


def get_config() -> ConfigDict:
    config = default.get_config()
    presets.ve(config)
    presets.ncsnpp(config)
    presets.large_images(config)
    config.data.update(dataset="", image_size=320, num_channels=2, scale=1e-4)
    config.model.update(ch_mult=(1, 2, 2, 2, 2), num_res_blocks=4, attn_resolutions=(20,), sigma_max=378.0)
    config.training.update(batch_size=8, n_jitted_steps=1)
    config.restore.update(operator="complex_fourier", pattern="random_lines", kept=0.25)
    return config
