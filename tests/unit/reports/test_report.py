"""Sheets of images, and files that are deterministic and whole."""

import json
import pathlib
import re

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from core.files import write_json
from reports.provenance import provenance
from reports.records import write_report
from reports.sheets import LINE, grid, with_headings, write_png


def images(number, height, width, channels):
    return np.random.default_rng(0).integers(1, 256, (number, height, width, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("columns", "padding", "scale"), [(None, 1, 1), (2, 0, 1), (4, 2, 3), (7, 1, 2)])
def test_each_image_has_its_place_on_a_black_sheet(channels, columns, padding, scale):
    x = images(5, 3, 4, channels)
    sheet = grid(x, columns, padding, scale)
    columns = columns or 3  # the least square that holds five
    rows, high, wide = -(-5 // columns), 3 * scale + padding, 4 * scale + padding
    assert sheet.shape == (rows * high + padding, columns * wide + padding, channels) and sheet.dtype == np.uint8
    rest = sheet.copy()
    for i, image in enumerate(x):
        top, left = padding + (i // columns) * high, padding + (i % columns) * wide
        place = np.s_[top : top + 3 * scale, left : left + 4 * scale]
        np.testing.assert_array_equal(sheet[place], np.kron(image, np.ones((scale, scale, 1), np.uint8)))
        rest[place] = 0
    assert not rest.any()


def test_what_is_no_batch_of_images_is_refused():
    for wrong in [np.zeros((2, 3, 4, 1)), images(2, 3, 4, 2), images(2, 3, 4, 1)[0], images(2, 3, 4, 1)[:0]]:
        with pytest.raises(ValueError, match="give uint8 \\[N, H, W, 1 or 3\\]"):
            grid(wrong)
    with pytest.raises(ValueError, match="columns 0, padding 1 and scale 1"):
        grid(images(2, 3, 4, 1), columns=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_files_are_read_back_as_written(tmp_path, channels):
    x = images(4, 5, 6, channels)
    write_png(tmp_path / "new" / "one.png", x[0])
    with Image.open(tmp_path / "new" / "one.png") as file:
        np.testing.assert_array_equal(np.asarray(file).reshape(x[0].shape), x[0])
    assert [path.name for path in tmp_path.rglob("*.*")] == ["one.png"]


def test_images_of_another_dtype_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a PNG file takes uint8"):
        write_png(tmp_path / "one.png", np.zeros((3, 3, 3)))
    assert not list(tmp_path.iterdir())


def test_equal_reports_are_equal_bytes_of_plain_json(tmp_path):
    report = {
        "mean": 0.1 + 0.2,
        "count": np.int64(3),
        "values": np.array([1.5, np.nan, -np.inf]),
        "nested": {"b": (1, None, float("nan")), "a": jnp.float32(0.5)},
        "path": pathlib.PurePosixPath("runs/one"),
    }
    first = write_report(tmp_path / "first", report).read_bytes()
    second = write_report(tmp_path / "second", dict(reversed(report.items()))).read_bytes()
    assert first == second

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    assert json.loads(first, parse_constant=refuse) == {
        "mean": 0.30000000000000004,
        "count": 3,
        "values": [1.5, None, None],
        "nested": {"a": 0.5, "b": [1, None, None]},
        "path": "runs/one",
    }


def test_what_json_cannot_hold_leaves_no_file(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "set.json", {"a": {1, 2}})
    assert not list(tmp_path.iterdir())


def test_headings_are_above_their_columns_or_beside_their_rows_and_fit():
    picture = np.full((40, 120, 1), 77, np.uint8)
    page = with_headings(picture, ["one", "a heading that is too long", "two"])
    assert page.shape == (40 + LINE, 120, 3) and (page[LINE:] == 77).all()
    inked = np.flatnonzero((page[:LINE] < 128).any((0, 2)))
    assert [bool(((inked >= 40 * k) & (inked < 40 * k + 40)).any()) for k in range(3)] == [True] * 3
    assert not set(inked) & {0, 39, 40, 79, 80, 119}  # nothing runs into the next column
    page = with_headings(picture, ["one", "two"], down=True)
    assert page.shape[0] == 40 and (page[:, -120:] == 77).all()
    inked = np.flatnonzero((page[:, :-120] < 128).any((1, 2)))
    assert inked.min() < 20 < inked.max()


def test_provenance_names_libraries_and_device():
    known = provenance()
    assert known["backend"] == "cpu" and known["num_devices"] == 8 and known["num_processes"] == 1
    assert {"jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy", "python"} <= set(
        known["versions"]
    )
    assert all(known["versions"].values())
    assert json.loads(json.dumps(known)) == known
    assert known["commit"] is None or re.fullmatch("[0-9a-f]{12}[+]?", known["commit"])
