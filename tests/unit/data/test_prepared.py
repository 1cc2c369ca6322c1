"""Any data set of TFDS by its name, with its features as fields."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.fields import Field
from tests.support.own_data import everything, opened
from tests.support.prepared import mocked


@pytest.fixture(autouse=True)
def _stock():
    """Data sets with ten random examples each, without any file."""
    with mocked(10):
        yield


def test_features_of_numbers_are_fields():
    source = opened("tfds:celeb_a", resize="crop", image_size=8)
    assert (source.shape, source.num_levels, source.num_classes, len(source)) == ((8, 8, 3), 256, 0, 10)
    assert len(source.fields) == 2 + 40 + 10 + 1
    assert source.fields["attributes_Smiling"] == Field((), "int32", num_classes=2)
    assert source.fields["landmarks_nose_x"] == Field(())
    batch, records = everything(source), tfds.builder("celeb_a").as_data_source(split="train")
    for row in range(10):
        assert batch["attributes_Smiling"][row] == records[row]["attributes"]["Smiling"]
        assert batch["landmarks_nose_x"][row] == records[row]["landmarks"]["nose_x"]
    assert {name: (a.dtype.name, a.shape[1:]) for name, a in batch.items()} == {
        name: (field.dtype, field.shape) for name, field in source.fields.items()
    }


def test_images_of_one_size_are_read_unchanged_with_their_classes():
    source = opened("tfds:mnist", "test")
    assert (source.shape, source.num_classes, source.class_names[:2]) == ((28, 28, 1), 10, ("0", "1"))
    records = tfds.builder("mnist").as_data_source(split="test")
    np.testing.assert_array_equal(everything(source)["x"][3], records[3]["image"])
    assert everything(source)["label"][3] == records[3]["label"]
    assert list(source.fields) == ["x", "label"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            "tfds:oxford_flowers102",
            "tfds:oxford_flowers102 has no images of one size .*; set config.data.resize to crop",
        ),
        ("tfds:ag_news_subset", "tfds:ag_news_subset has no images of one size .*; choose another data set"),
        ("tfds:minst", "TFDS has no data set 'minst', and neither has .*; did you mean 'mnist'"),
    ],
)
def test_what_is_no_data_set_of_images_is_one_sentence(dataset, message):
    with pytest.raises(ValueError, match=message) as error:
        opened(dataset)
    assert "\n" not in str(error.value)
