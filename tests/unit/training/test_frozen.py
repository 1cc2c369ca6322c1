"""The weights of earlier stages that a run keeps."""

import numpy as np
import pytest

from training import frozen
from training.frozen import FrozenPartError


def test_weights_come_back_by_their_hash(tmp_path):
    frozen.keep(tmp_path, "encoder", {"params": {"a": np.arange(3.0)}}, {"workdir": "first"})
    about = frozen.about(tmp_path, "encoder")
    found = frozen.read(tmp_path, "encoder", about["sha256"])
    np.testing.assert_array_equal(found["params"]["a"], np.arange(3.0))
    with pytest.raises(FrozenPartError, match="was trained with the weights of SHA-256"):
        frozen.read(tmp_path, "encoder", "0" * 64)


@pytest.mark.parametrize("content", [b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x81\xa1a" * 5000, b"\xc7\x03\x01abc"])
def test_weights_that_are_none_are_one_sentence_also_where_their_hash_is_right(tmp_path, content):
    weights, _ = frozen.files(tmp_path, "encoder")
    weights.parent.mkdir()
    weights.write_bytes(content)
    with pytest.raises(FrozenPartError, match=rf"^{weights} is damaged \(.*\); restore those weights"):
        frozen.read(tmp_path, "encoder", frozen.sha256(content))
