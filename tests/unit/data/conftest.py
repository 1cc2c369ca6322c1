"""A folder of images as a user might have it."""

import pytest

from tests.support.own_data import PIXELS, save


@pytest.fixture
def folder(tmp_path):
    """Twelve color images of 6x4 pixels in three classes, and the files that operating systems leave."""
    for i, pixels in enumerate(PIXELS):
        save(tmp_path / "own" / ("ant", "bee", "cow")[i // 4] / f"{i:02d}.png", pixels)
    (tmp_path / "own" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "own" / "bee" / "Thumbs.db").write_bytes(b"x")
    return tmp_path / "own"
