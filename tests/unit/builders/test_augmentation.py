"""Which networks can be trained on augmented images."""

import pytest

from builders import data
from configs import default


def test_a_network_that_is_not_conditioned_on_the_augmentation_is_refused():
    config = default.get_config()
    config.data.augment = 0.12
    message = r"config.data.augment = 0.12 needs a network .*, but config.model.augment_dim = 0; set it to 9, or"
    with pytest.raises(ValueError, match=message):
        data.augmentation(config)
