"""Images of 16 bits: gray keeps them, color where the config has 65,536 levels, and 8 bits are the same shades."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from data.readers.inputs import read_examples
from tests.support.own_data import PIXELS, everything, opened, png16, save

DEEP = np.random.default_rng(5).integers(0, 65536, (6, 4, 4)).astype(np.uint16)  # color and opacity
OPACITY = DEEP[..., 3:] / 65535


def over_white(values):
    return np.round(OPACITY * values + (1 - OPACITY) * 65535)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (DEEP[..., :1], DEEP[..., :1]),
        (DEEP[..., [0, 3]], over_white(DEEP[..., :1])),
        (DEEP[..., :3], DEEP[..., :3]),
        (DEEP, over_white(DEEP[..., :3])),
    ],
    ids=["gray", "gray and opacity", "color", "color and opacity"],
)
def test_all_bits_are_kept_where_the_config_has_as_many_levels(tmp_path, values, expected):
    png16(tmp_path / "a.png", values)
    source = opened(f"folder:{tmp_path}", test_every=0, num_levels=65536)
    assert (source.num_levels, source.shape) == (65536, expected.shape)
    np.testing.assert_array_equal(everything(source)["x"][0], expected)
    np.testing.assert_array_equal(read_examples(tmp_path / "a.png", expected.shape, 65536)[1][0], expected)
    reduced = everything(opened(f"folder:{tmp_path}", test_every=0, num_levels=256))["x"][0]
    assert reduced.dtype == np.uint8
    np.testing.assert_allclose(reduced, expected / 257, atol=1.01)  # Pillow cuts color off, and compositing rounds


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_of_sixteen_bits_are_turned_as_those_of_eight(tmp_path, orientation):
    png16(tmp_path / "a.png", DEEP[..., :3], orientation)
    with Image.open(tmp_path / "a.png") as file:
        expected = np.asarray(ImageOps.exif_transpose(file))
    found = everything(opened(f"folder:{tmp_path}", test_every=0, num_levels=65536))["x"][0]
    np.testing.assert_array_equal(found >> 8, expected)


def test_both_depths_together_need_the_number_of_levels(tmp_path):
    gray = PIXELS[0][..., :1]
    png16(tmp_path / "a.png", DEEP[..., :1])
    save(tmp_path / "b.png", gray[..., 0])
    for levels, factor in ((256, 1), (65536, 257)):
        found = everything(opened(f"folder:{tmp_path}", test_every=0, num_levels=levels))["x"]
        np.testing.assert_array_equal(found[1], gray.astype(int) * factor)
        np.testing.assert_array_equal(found[0], np.round(DEEP[..., :1] / (257 / factor)))
    with pytest.raises(ValueError, match="num_levels = 17, but image files have 256 or 65536 levels; set it to one"):
        opened(f"folder:{tmp_path}", num_levels=17)


def test_deep_images_are_resized_with_all_bits(tmp_path):
    png16(tmp_path / "a.png", np.full((8, 12, 3), 40_001, np.uint16))
    found = opened(f"folder:{tmp_path}", test_every=0, num_levels=65536, resize="crop", image_size=4)
    np.testing.assert_array_equal(everything(found)["x"], np.full((1, 4, 4, 3), 40_001))
