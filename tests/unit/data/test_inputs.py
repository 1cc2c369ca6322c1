"""Images, arrays and masks as input of the sampling tasks, and the errors for files that cannot be used."""

import math
import pathlib

import numpy as np
import pytest
from PIL import Image

from data.readers.inputs import read_examples, read_mask


def test_images_and_arrays_of_a_folder_are_read_in_order(tmp_path):
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png")  # gray: three equal channels
    np.save(tmp_path / "c.npy", np.stack([pixels, 255 - pixels]))
    (tmp_path / "notes.txt").write_text("not an image")
    names, images = read_examples(tmp_path, (8, 8, 3), 256)
    assert names == ["a", "b", "c 0", "c 1"] and images.dtype == np.uint8
    np.testing.assert_array_equal(images[0], np.repeat(pixels[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(images[1], pixels)
    np.testing.assert_array_equal(images[3], 255 - pixels)


def test_pixels_of_an_image_become_the_levels_of_the_data(tmp_path):
    """As our own images show them: level l of L is the pixel value 255 l / (L - 1)."""
    levels = np.arange(17, dtype=np.uint8).reshape(1, 17)
    Image.fromarray(np.round(levels * (255 / 16)).astype(np.uint8)).save(tmp_path / "a.png")
    _, images = read_examples(tmp_path / "a.png", (1, 17, 1), 17)
    np.testing.assert_array_equal(images[0, ..., 0], levels)


def test_a_mask_marks_what_is_not_black(tmp_path):
    known = np.zeros((8, 8), np.uint8)
    known[2:4] = 255
    Image.fromarray(known).save(tmp_path / "mask.png")
    np.savez(tmp_path / "mask.npz", mask=known[..., None] > 0)
    for name in ("mask.png", "mask.npz"):
        mask = read_mask(tmp_path / name, (8, 8, 3))
        assert mask.shape == (8, 8, 1) and mask.dtype == bool
        np.testing.assert_array_equal(mask[..., 0], known > 0)


@pytest.mark.parametrize(
    ("given", "shape", "expected"),
    [
        ((6,), (6, 2), (6, 1)),  # the steps of a series, for all channels
        ((6, 2), (6, 2), (6, 2)),  # each channel by itself
        ((4, 6, 4), (4, 6, 4, 1), (4, 6, 4, 1)),
        ((4, 6, 4, 1), (4, 6, 4, 3), (4, 6, 4, 1)),
        ((6,), (6,), (6,)),
    ],
)
def test_masks_of_other_ranks_are_arrays(tmp_path, given, shape, expected):
    values = np.arange(math.prod(given)).reshape(given) % 3
    np.save(tmp_path / "mask.npy", values)
    found = read_mask(tmp_path / "mask.npy", shape)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, (values != 0).reshape(expected))
    np.save(tmp_path / "mask.npy", np.ones((5, 1)))
    with pytest.raises(ValueError, match=r"mask.npy has shape \(5, 1\), but the examples have (4x)?6"):
        read_mask(tmp_path / "mask.npy", shape)


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "float.npy", np.zeros((2, 8, 8, 3)))
    np.save(tmp_path / "levels.npy", np.full((8, 8, 3), 17))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.png", "nothing.png does not exist"),
        ("small.png", "small.png is 4x8, but images of 8x8 are needed"),
        ("broken.png", "broken.png cannot be read as an image"),
        ("notes.txt", "notes.txt is not a file that can be read; use .png"),
        ("empty", "empty has no .png"),
        ("float.npy", r"float.npy contains float64 \(2, 8, 8, 3\), but levels"),
        ("levels.npy", "levels.npy has levels from 17 to 17, but the data have 0 to 16"),
        ("objects.npy", "objects.npy cannot be read as an array: Object arrays cannot be loaded"),
        ("two.npz", "two.npz cannot be read as an array: it contains a, b; give one array, or one called arr_0"),
        ("broken.npz", "broken.npz cannot be read as an array"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_with_its_name(folder, name, message):
    with pytest.raises(ValueError, match=message) as error:
        read_examples(folder / name, (8, 8, 3), 17)
    assert "\n" not in str(error.value)


def test_a_mask_of_another_shape_is_refused(folder):
    with pytest.raises(ValueError, match=r"small.png has shape \(4, 8\), but the images are 8x8"):
        read_mask(folder / "small.png", (8, 8, 3))
    with pytest.raises(ValueError, match="mask .*nothing.png does not exist"):
        read_mask(pathlib.Path("nothing.png"), (8, 8, 3))


def test_deep_levels_and_floats_are_unchanged(tmp_path):
    deep, floats = np.full((2, 4, 5, 1), 40_000, np.uint16), np.full((3, 7, 2), -1.5)
    for name, array, levels, dtype in (("deep", deep, 65536, np.uint16), ("floats", floats, 0, np.float32)):
        np.save(tmp_path / f"{name}.npy", array)
        _, found = read_examples(tmp_path / f"{name}.npy", array.shape[1:], levels)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, array)
    with pytest.raises(ValueError, match="deep.npy contains uint16 .*, but floats .* are needed"):
        read_examples(tmp_path / "deep.npy", (4, 5, 1), 0)
