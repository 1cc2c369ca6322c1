"""What data of a user's own determine in a config."""

import numpy as np
import pytest

from builders import data
from configs import default
from tests.support.runs import tiny


@pytest.mark.parametrize("examples", [np.zeros((9, 7, 2), np.float32), np.zeros((9, 4, 4, 1), np.uint16)])
def test_only_settings_that_are_declared_as_resolved_are_changed(tmp_path, examples):
    np.save(tmp_path / "x.npy", examples)
    config = tiny()
    config.data.update(dataset=f"npy:{tmp_path}/x.npy", random_flip=True)
    before = default.to_json(config)
    data.resolve(config)
    changed = default.differences(before, default.to_json(config))
    assert "data.shape" in changed and all(default.is_resolved(key, config.data.dataset) for key in changed)
    assert not any(default.is_resolved(key, "digits") for key in changed)
