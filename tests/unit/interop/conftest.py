"""One small network, and what an import of a bad file for it says."""

import pytest

from builders.network import make_network
from interop.base import CheckpointFormatError
from interop.load import load
from tests.support.published import PAIR, config_of, outline_of


@pytest.fixture(scope="module")
def network():
    """Shapes and modules of the network of both files in PAIR."""
    return outline_of(make_network(config_of(PAIR[0])))


@pytest.fixture
def refused(network, tmp_path):
    """`refused(content)`: the error of importing it, given as bytes or as a function that writes to a path."""

    def load_refused(content, name="file"):
        path = tmp_path / name
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)
        with pytest.raises(CheckpointFormatError) as caught:
            load(path, *network)
        message = str(caught.value)
        assert message.startswith(str(path)) and "\n" not in message and message.endswith(".")
        return message

    return load_refused
