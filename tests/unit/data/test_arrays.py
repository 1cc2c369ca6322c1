"""Arrays of any rank in .npy and .npz files."""

import numpy as np
import pytest

from tests.support.own_data import ARRAYS, everything, opened


@pytest.mark.parametrize("form", ["npy", "npz"])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_rank_are_examples(tmp_path, name, form):
    array, path = ARRAYS[name], tmp_path / f"a.{form}"
    np.save(path, array) if form == "npy" else np.savez(path, array)
    train, test = (opened(f"{form}:{path}", split, test_every=5) for split in ("train", "test"))
    levels = {"uint8": 256, "uint16": 65536, "bool": 2}.get(array.dtype.name, 0)
    assert (train.shape, train.num_levels, train.num_classes) == (array.shape[1:], levels, 0)
    assert train.dtype == {"float64": "float32", "bool": "uint8"}.get(array.dtype.name, array.dtype.name)
    held_out = np.arange(20) % 5 == 0
    np.testing.assert_array_equal(everything(train)["x"], array[~held_out].astype(train.dtype))
    np.testing.assert_array_equal(everything(test)["x"], array[held_out].astype(train.dtype))


def test_an_npy_file_stays_on_disk_and_may_have_labels_beside_it(tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS["images"])
    np.save(tmp_path / "y.npy", np.arange(20) % 3)
    source = opened(f"npy:{tmp_path}/x.npy,{tmp_path}/y.npy", test_every=0)
    assert isinstance(source.fetch.array, np.memmap) and source.num_classes == 3
    assert everything(source)["label"].tolist() == (np.arange(20) % 3).tolist()


def test_an_npz_file_names_examples_and_labels(tmp_path):
    np.savez(tmp_path / "a.npz", x=ARRAYS["series"], y=np.arange(20) % 2, other=np.zeros(3))
    source = opened(f"npz:{tmp_path}/a.npz", test_every=0)
    assert (source.shape, source.num_classes, source.num_levels) == ((7, 2), 2, 0)


def test_integers_take_the_number_of_levels_and_the_shape_that_they_are_given(tmp_path):
    array = np.arange(80).reshape(5, 16) % 17
    np.save(tmp_path / "x.npy", array)
    source = opened(f"npy:{tmp_path}/x.npy", test_every=0, num_levels=17, shape=(4, 4, 1))
    assert (source.shape, source.num_levels, source.dtype) == ((4, 4, 1), 17, "uint8")
    np.testing.assert_array_equal(everything(source)["x"].reshape(5, 16), array)
    fewer = opened(f"npy:{tmp_path}/x.npy", test_every=0, num_levels=16)
    with pytest.raises(ValueError, match=r"row 1 of .*x.npy has the value 16, but levels 0 to 15 are expected"):
        everything(fewer)


def test_a_value_that_is_not_finite_is_named_with_its_row(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0.0], [1.0], [np.nan]]))
    with pytest.raises(ValueError, match=r"row 2 of .*x.npy has the value nan, but finite numbers are expected"):
        everything(opened(f"npy:{tmp_path}/x.npy", test_every=0))


@pytest.mark.parametrize("name", ["x", "arr_0", "images", "pictures"])
def test_the_examples_of_an_archive_have_a_usual_name_or_are_the_only_ones_with_several_axes(tmp_path, name):
    values, others = ARRAYS["images"], {"labels": np.arange(20) % 2, "extra": np.arange(3)}
    np.savez(tmp_path / "a.npz", **{name: values}, **others)
    source = opened(f"npz:{tmp_path}/a.npz", test_every=0)
    np.testing.assert_array_equal(everything(source)["x"], values)
    assert source.num_classes == 2 and source.fields.keys() == {"x", "label"}
    if name != "pictures":  # a mask beside it is then a field
        np.savez(tmp_path / "b.npz", **{name: values}, mask=values > 0)
        np.testing.assert_array_equal(everything(opened(f"npz:{tmp_path}/b.npz", test_every=0))["x"], values)
