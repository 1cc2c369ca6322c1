"""Folders and zip archives of images: splits, classes, sizes, broken files, and the cache on disk."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from core import files
from data import images, stock
from data.readers import records
from tests.support.own_data import PIXELS, everything, opened, save, zipped


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_classes_and_splits_of_a_folder_and_of_a_zip(folder, form):
    path = folder if form == "folder" else zipped(folder)
    train, test = (opened(f"{form}:{path}", split, test_every=4) for split in ("train", "test"))
    assert (train.shape, train.num_levels, train.num_classes, train.dtype) == ((6, 4, 3), 256, 3, "uint8")
    assert train.class_names == ("ant", "bee", "cow")
    held_out = np.arange(12) % 4 == 0
    for source, chosen in ((train, ~held_out), (test, held_out)):
        batch = everything(source)
        np.testing.assert_array_equal(batch["x"], PIXELS[chosen])
        np.testing.assert_array_equal(batch["label"], (np.arange(12) // 4)[chosen])
        assert batch["label"].dtype == np.int32


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_folders_train_and_test_are_the_splits(tmp_path, form):
    for i, pixels in enumerate(PIXELS):
        save(tmp_path / "own" / ("test" if i >= 8 else "train") / "ab"[i % 2] / f"{i:02d}.webp", pixels, lossless=True)
    path = tmp_path / "own" if form == "folder" else zipped(tmp_path / "own")
    train, test = (opened(f"{form}:{path}", split) for split in ("train", "test"))
    assert (len(train), len(test), train.class_names) == (8, 4, ("a", "b"))
    np.testing.assert_array_equal(everything(test)["x"], PIXELS[[8, 10, 9, 11]])
    assert everything(test)["label"].tolist() == [0, 0, 1, 1]


def test_all_examples_are_in_both_splits_where_none_are_held_out(folder):
    assert [len(opened(f"folder:{folder}", split, test_every=0)) for split in ("train", "test")] == [12, 12]


def test_gray_and_sixteen_bit_images_have_one_channel_and_their_own_levels(tmp_path):
    gray = PIXELS[..., 0]
    deep = gray.astype(np.uint16) * 257
    for i in range(4):
        save(tmp_path / "gray" / f"{i}.png", gray[i])
        save(tmp_path / "deep" / f"{i}.png", deep[i])
    for name, values, levels in (("gray", gray, 256), ("deep", deep, 65536)):
        source = opened(f"folder:{tmp_path / name}", test_every=0)
        assert (source.shape, source.num_levels, source.num_classes) == ((6, 4, 1), levels, 0)
        assert source.dtype == values.dtype.name
        np.testing.assert_array_equal(everything(source)["x"][..., 0], values[:4])
    half = opened(f"folder:{tmp_path / 'deep'}", test_every=0, resize="stretch", shape=(3, 2, 1))
    mean = deep[:4].mean(axis=(1, 2))
    # Resizing keeps the mean, except for values clipped at the borders; the result is no 8-bit number times 257.
    np.testing.assert_allclose(everything(half)["x"].mean(axis=(1, 2, 3)), mean, rtol=0.2)
    assert (everything(half)["x"] % 257 != 0).any()


def test_mixed_sizes_are_cropped_or_stretched_to_one(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200  # the central square
    save(tmp_path / "a.png", wide)
    save(tmp_path / "b.jpg", np.full((8, 8), 90, np.uint8))  # gray beside color becomes color
    cropped = opened(f"folder:{tmp_path}", test_every=0, resize="crop", image_size=5)
    assert cropped.shape == (5, 5, 3)
    first, second = everything(cropped)["x"]
    assert (first == 200).all() and np.abs(second.astype(int) - 90).max() <= 1  # JPEG's own rounding
    stretched = everything(opened(f"folder:{tmp_path}", test_every=0, resize="stretch", image_size=5))["x"][0]
    assert (stretched[:, 0] < 30).all() and (stretched[:, 2] > 170).all()


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # its rows are columns
    save(tmp_path / "a.png", PIXELS[0], exif=exif)
    source = opened(f"folder:{tmp_path}", test_every=0)
    np.testing.assert_array_equal(everything(source)["x"][0], np.rot90(PIXELS[0], -1))


def damaged(folder, name="bee/05.png"):
    """Cuts an image off within its pixels; its header is intact."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-30])


def test_a_broken_image_is_named(folder):
    damaged(folder)
    source = opened(f"folder:{folder}", test_every=4)
    with pytest.raises(ValueError, match=r"own/bee/05.png cannot be read as an image \(.*\); replace it, or set"):
        everything(source)
    (folder / "bee" / "06.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"own/bee/06.png cannot be read as an image \(it is no PNG, .*\); replace"):
        opened(f"folder:{folder}", test_every=4)


@pytest.mark.parametrize("kept", [False, True])
def test_skipping_broken_images_leaves_the_order_a_function_of_the_files(folder, tmp_path, kept):
    """A file without a header is left out; one that fails to decode is replaced by the next; nothing else moves."""
    damaged(folder)
    (folder / "bee" / "06.png").write_bytes(b"nothing")
    options = {"test_every": 4, "on_corrupt": "skip", "cache_dir": str(tmp_path / "cache") if kept else None}
    train, test = (opened(f"folder:{folder}", split, **options) for split in ("train", "test"))
    expected = [1, 2, 3, 7, 7, 9, 10, 11]  # 7 is the next after the broken 5, since 6 is left out
    for order in (np.arange(8), np.arange(8)[::-1]):
        np.testing.assert_array_equal(train.fetch(order)["x"], PIXELS[np.array(expected)[order]])
    np.testing.assert_array_equal(everything(test)["x"], PIXELS[[0, 4, 8]])


def test_decoded_images_are_cached_on_disk_under_a_hash_of_their_origin(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"

    def examples(**options):
        return everything(opened(f"folder:{folder}", test_every=4, cache_dir=str(cache), **options))

    first = examples()
    (kept,) = cache.iterdir()
    assert kept.suffix == ".array_record"
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", None)  # decoding again would fail
        again = examples()
    for name in ("x", "label"):
        np.testing.assert_array_equal(first[name], again[name])
    np.testing.assert_array_equal(first["x"], PIXELS[np.arange(12) % 4 != 0])
    examples(resize="crop", image_size=4)
    save(folder / "ant" / "01.png", PIXELS[0][::-1])
    np.testing.assert_array_equal(examples()["x"][0], PIXELS[0][::-1])
    assert len(list(cache.iterdir())) == 3


def test_a_cache_that_is_interrupted_leaves_nothing(folder, tmp_path):
    damaged(folder, "cow/11.png")
    with pytest.raises(ValueError, match="11.png cannot be read"):
        opened(f"folder:{folder}", test_every=4, cache_dir=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_names_the_key(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"config.data.cache_dir = .*file cannot be written"):
        opened(f"folder:{folder}", cache_dir=str(tmp_path / "file"))


def test_records_are_written_under_another_name_first(tmp_path, monkeypatch):
    seen = []
    replace = files.os.replace
    monkeypatch.setattr(files.os, "replace", lambda a, b: (seen.append((a, pathlib.Path(b).exists())), replace(a, b)))
    source = stock.from_arrays("a", PIXELS)
    records.cached_on_disk(source, tmp_path / "stem")
    assert len(seen) == 1 and not seen[0][1] and [path.name for path in tmp_path.iterdir()] == ["stem.array_record"]


def test_names_of_any_length_in_a_table_are_shortened(tmp_path):
    save(tmp_path / "a.png", PIXELS[0])
    for text in ("x" * 10**5 + ",label\n", "label," * 1000 + "\n", "file_name,label\n" + "x" * 10**5 + ",1\n"):
        (tmp_path / "metadata.csv").write_text(text)
        with pytest.raises(ValueError, match=str(tmp_path / "metadata.csv")) as caught:
            opened(f"folder:{tmp_path}", test_every=0)
        assert len(str(caught.value)) < 1000
