"""Images of every kind are read alike for training and as input: orientation, transparency, palettes, depths, links."""

import numpy as np
import pytest
from PIL import Image

from data.readers.inputs import read_examples, read_mask
from tests.support.own_data import PIXELS, everything, opened, png16, save

COLOR = PIXELS[0]
GRAY = COLOR[..., 0]
ALPHA = np.full((6, 4), 255, np.uint8)
ALPHA[:3] = 0  # the upper half is transparent
ALPHA[3] = 51  # and a line a fifth opaque


def over(background):
    """COLOR over a background, half of it transparent."""
    weight = ALPHA[..., None] / 255
    return np.round(weight * COLOR + (1 - weight) * background)


def turned(image):
    exif = Image.Exif()
    exif[0x0112] = 6  # its rows are columns
    return {"exif": exif}


def palette(transparent=False):
    image = Image.fromarray(COLOR).quantize(24)  # as many colors as pixels: nothing is lost
    return image, {"transparency": 0} if transparent else {}


KINDS = {
    "upright": (Image.fromarray(COLOR), {}, COLOR),
    "turned": (Image.fromarray(np.rot90(COLOR)), turned(COLOR), COLOR),
    "palette": (*palette(), np.asarray(palette()[0].convert("RGB"))),
    "transparent": (Image.fromarray(np.dstack([COLOR, ALPHA])), {}, over(255)),
    "opaque": (Image.fromarray(np.dstack([COLOR, np.full_like(ALPHA, 255)])), {}, COLOR),
    "gray": (Image.fromarray(GRAY), {}, np.repeat(GRAY[..., None], 3, axis=2)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["png", "webp"])
def test_training_and_input_read_the_same(tmp_path, kind, ending):
    image, options, expected = KINDS[kind]
    if ending == "webp" and image.mode == "P":
        image = image.convert("RGB")
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / f"a.{ending}"
    image.save(path, **options, **({"lossless": True, "exact": True} if ending == "webp" else {}))
    Image.fromarray(COLOR).save(tmp_path / "own" / "b.png")  # in color, so that all are
    trained = everything(opened(f"folder:{tmp_path}/own", test_every=0))["x"][0]
    _, given = read_examples(path, (6, 4, 3), 256)
    np.testing.assert_array_equal(trained, given[0])
    np.testing.assert_allclose(given[0], expected, atol=1)  # compositing rounds


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0), ("gray", 128)])
def test_transparent_pixels_show_the_background_of_the_config(tmp_path, background, value):
    save(tmp_path / "a.png", np.dstack([COLOR, ALPHA]))
    found = everything(opened(f"folder:{tmp_path}", test_every=0, background=background))["x"][0]
    np.testing.assert_allclose(found, over(value), atol=1)
    np.testing.assert_array_equal(read_examples(tmp_path / "a.png", (6, 4, 3), 256, None, background)[1][0], found)
    assert not read_mask(tmp_path / "a.png", (6, 4, 3))[:3].any()  # nothing is known of what is transparent


def test_gray_with_transparency_and_a_palette_with_a_transparent_color(tmp_path):
    Image.fromarray(np.dstack([GRAY, ALPHA])).save(tmp_path / "a.png")
    found = everything(opened(f"folder:{tmp_path}", test_every=0))
    assert found["x"].shape == (1, 6, 4, 1)
    np.testing.assert_allclose(found["x"][0, ..., 0], np.where(ALPHA[..., None] > 0, over(255), 255)[..., 0], atol=1)
    image, options = palette(transparent=True)
    image.save(tmp_path / "b.png", **options)
    _, found = read_examples(tmp_path / "b.png", (6, 4, 3), 256)
    hidden = np.asarray(image) == 0
    assert (found[0][hidden] == 255).all()
    np.testing.assert_array_equal(found[0][~hidden], np.asarray(image.convert("RGB"))[~hidden])


def test_cmyk_is_read_as_color(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(everything(opened(f"folder:{tmp_path}", test_every=0))["x"][0], flat, atol=6)
    np.testing.assert_allclose(read_examples(tmp_path / "a.jpg", (16, 16, 3), 256)[1][0], flat, atol=6)


def test_color_of_sixteen_bits_is_reduced_to_eight(tmp_path):
    png16(tmp_path / "a.png", COLOR.astype(np.uint16) * 257)
    source = opened(f"folder:{tmp_path}", test_every=0)
    assert source.num_levels == 256
    np.testing.assert_array_equal(everything(source)["x"][0], COLOR)
    np.testing.assert_array_equal(read_examples(tmp_path / "a.png", (6, 4, 3), 256)[1][0], COLOR)


def test_gray_of_sixteen_bits_keeps_its_values_as_input(tmp_path):
    deep = np.linspace(0, 65535, 24).astype(np.uint16).reshape(6, 4)
    save(tmp_path / "a.png", deep)
    _, found = read_examples(tmp_path / "a.png", (6, 4, 1), 65536)
    np.testing.assert_array_equal(found[0, ..., 0], deep)
    _, found = read_examples(tmp_path / "a.png", (6, 4, 3), 256)  # of a model of 8-bit color
    np.testing.assert_allclose(found[0], np.repeat(deep[..., None], 3, 2) / 257, atol=0.51)
    dark = np.where(deep > 30_000, 200, 0).astype(np.uint16)  # black in 8 bits, and yet not zero
    save(tmp_path / "mask.png", dark)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", (6, 4, 3))[..., 0], deep > 30_000)


def test_input_is_resized_by_the_rule_of_training(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", np.random.default_rng(i).integers(0, 256, (10 + i, 17, 3), np.uint8))
    for rule in ("crop", "stretch"):
        trained = everything(opened(f"folder:{tmp_path}", test_every=0, resize=rule, image_size=8))["x"]
        _, given = read_examples(tmp_path, (8, 8, 3), 256, rule)
        np.testing.assert_array_equal(given, trained)


def test_hidden_files_are_no_input(tmp_path):
    save(tmp_path / "a.png", COLOR)
    (tmp_path / "._a.png").write_bytes(b"left by another system")
    assert read_examples(tmp_path, (6, 4, 3), 256)[0] == ["a"]


# Folders ----------------------------------------------------------------------------------------------------------


def test_links_are_followed_and_loops_and_links_to_nothing_are_not(tmp_path, caplog):
    for i in range(6):
        save(tmp_path / "elsewhere" / f"{i}.png", PIXELS[i])
    root = tmp_path / "own"
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        save(root / name / "0.png", PIXELS[6])
        (root / name / "loop").symlink_to(root)
    (root / "cow").symlink_to(tmp_path / "elsewhere")
    (root / "ant" / "1.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    source = opened(f"folder:{root}", test_every=0)
    assert len(source) == 2 + 1 + 6 and source.class_names == ("ant", "bee", "cow")
    np.testing.assert_array_equal(everything(source)["x"][1], PIXELS[1])
    (root / "bee" / "2.png").symlink_to(tmp_path / "nowhere.png")
    assert len(opened(f"folder:{root}", test_every=0)) == 9
    assert "own/bee/2.png is a link to nothing (left out)" in caplog.text


@pytest.mark.parametrize(
    ("folders", "sizes"),
    [
        (("train", "val"), (8, 4)),
        (("Train", "Test"), (8, 4)),
        (("TRAIN", "valid"), (8, 4)),
        (("train", "Validation"), (8, 4)),
        (("train", "test", "val"), (4, 4)),
    ],
)
@pytest.mark.parametrize("classes", [False, True])
def test_folders_of_splits_have_any_case_and_validation_stands_for_test(tmp_path, caplog, folders, sizes, classes):
    for i, pixels in enumerate(PIXELS):
        split = folders[i // 4] if len(folders) == 3 else folders[i >= 8]
        save(tmp_path / split / (("a", "b")[i % 2] if classes else "") / f"{i:02d}.png", pixels)
    train, test = (opened(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert (len(train), len(test)) == sizes
    assert train.class_names == test.class_names == (("a", "b") if classes else ())
    assert ("val is not used" in caplog.text) == (len(folders) == 3)


def test_a_stray_image_beside_folders_of_classes_is_named(folder, caplog):
    save(folder / "stray.png", PIXELS[0])
    assert opened(f"folder:{folder}", test_every=0).num_classes == 0
    assert "own/stray.png lies beside folders with images, so that these are no classes; move it" in caplog.text


def test_an_image_beside_the_folders_of_the_splits_is_named(tmp_path, caplog):
    for name in ("train/a.png", "test/b.png", "c.png"):
        save(tmp_path / name, PIXELS[0])
    assert len(opened(f"folder:{tmp_path}")) == 1
    assert "c.png is in no split: the others are in train and test" in caplog.text
