"""Data sets as TFDS prepares them, with random examples and without any file."""

import contextlib
from collections.abc import Iterator

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.testing import mocking


@contextlib.contextmanager
def mocked(num_examples: int) -> Iterator[None]:
    """Every data set has `num_examples` random examples in each split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorflow_datasets.testing.mocking._getitems", _getitems)
        patch.setattr("tensorflow_datasets.testing.mocking._get_fake_data_components", _components)
        with tfds.testing.mock_data(num_examples=num_examples):
            yield


def _components(decoders, features, deserialize_method=None):  # the examples are random, and decoded already
    del decoders, deserialize_method
    return mocking.RandomFakeGenerator, features, features.get_tensor_info(), lambda example: example


def _getitems(record_keys, *, generator, serialized=False):  # the mock calls its own version with one argument less
    assert not serialized
    return [generator[key] for key in record_keys]
