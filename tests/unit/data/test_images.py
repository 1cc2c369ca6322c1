"""Flips, crops and resizes of uint8 images."""

import numpy as np
import pytest

from data import images


def image(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def test_only_the_chosen_examples_are_mirrored():
    x = np.stack([image(3, 4)] * 3)
    flipped = images.flip(x, np.array([0, 1, 0]))
    np.testing.assert_array_equal(flipped[[0, 2]], x[[0, 2]])
    np.testing.assert_array_equal(flipped[1], x[1][:, ::-1])
    np.testing.assert_array_equal(images.flip(flipped, np.array([0, 1, 0])), x)


def test_a_central_crop_leaves_the_odd_pixel_at_the_far_side():
    x = image(7, 6)
    np.testing.assert_array_equal(images.central_crop(x, 4, 3), x[1:5, 1:4])
    with pytest.raises(ValueError, match="an image of 7x6 pixels has no central crop of 8x4"):
        images.central_crop(x, 8, 4)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resizing_is_antialiased(method, channels):
    """A checkerboard of single pixels becomes flat gray; without antialiasing it would stay black and white."""
    board = np.zeros((32, 32, channels), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 200
    small = images.resize(board, 8, 8, method)
    assert small.shape == (8, 8, channels) and small.dtype == np.uint8
    assert np.abs(small[1:-1, 1:-1].astype(int) - 100).max() <= 2  # 8-bit rounding of the filter and of two passes


def test_resizing_treats_all_channels_alike():
    x = image(12, 10)
    planes = [images.resize(x[..., c : c + 1], 5, 7) for c in range(3)]
    np.testing.assert_array_equal(images.resize(x, 5, 7), np.concatenate(planes, axis=2))
    np.testing.assert_array_equal(images.resize(x, 12, 10), x)


def test_published_crops_have_the_published_geometry():
    wide = np.zeros((150, 300, 3), np.uint8)
    wide[:, 75:225] = 90  # the central square
    assert (images.crop_square(wide, 256) == 90).all() and images.crop_square(wide, 256).shape == (256, 256, 3)
    # At 128 pixels the short side becomes 128 and the center is kept: the same region, except at its edges.
    scene = images.crop_scene(wide, 128)
    assert scene.shape == (128, 128, 3) and (scene[:, 2:-2] == 90).all()
    np.testing.assert_array_equal(images.crop_scene(wide, 64), images.crop_square(wide, 64))
    face = np.zeros((218, 178, 3), np.uint8)
    face[39:179, 19:159] = 7
    assert (images.crop_face(face, 64) == 7).all()
