"""Samples of other programs are read piece by piece, and ours are written as they read them."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from data.readers.samples import read_batches
from evaluation.sample_files import write_npz, write_png_folder


def images(num=7, channels=3):
    return np.random.default_rng(channels).integers(0, 256, (num, 5, 6, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["npz", "compressed", "folder"])
def test_images_are_read_back_as_written(tmp_path, form, channels):
    x, path = images(channels=channels), tmp_path / ("folder" if form == "folder" else "samples.npz")
    if form == "folder":
        assert write_png_folder(path, [x[:4], x[4:]]) == 7
        assert sorted(file.name for file in path.iterdir()) == [f"{i:06d}.png" for i in range(7)]
    elif form == "npz":
        write_npz(path, len(x), [x[:4], x[4:]])
    else:
        np.savez_compressed(path, x)
    batches = list(read_batches(path, 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), x)


@pytest.mark.parametrize("sizes", [[7], [0, 3, 0, 4], [1] * 7])
def test_an_npz_file_is_that_of_numpy_however_the_samples_come(tmp_path, sizes):
    x = images()
    write_npz(tmp_path / "ours.npz", 7, np.split(x, np.cumsum(sizes)[:-1]))
    np.savez(tmp_path / "theirs.npz", x)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()


def test_samples_are_never_held_all_together(tmp_path):
    def batches():
        for i in range(64):
            yield np.full((16, 32, 32, 3), i, np.uint8)

    tracemalloc.start()
    try:
        write_npz(tmp_path / "many.npz", 1024, batches())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1024 * 32 * 32 * 3 / 8  # a batch is a 64th, and it is copied
    assert sum(len(batch) for batch in read_batches(tmp_path / "many.npz", 100)) == 1024


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_samples_of_any_rank_are_written_in_their_own_type(tmp_path, dtype):
    x = np.arange(24).reshape(4, 6).astype(dtype)
    write_npz(tmp_path / "ours.npz", 4, [x[:3], x[3:]])
    np.testing.assert_array_equal(np.load(tmp_path / "ours.npz")["arr_0"], x, strict=True)


@pytest.mark.parametrize(
    ("num", "batches", "reason"),
    [
        (8, [images()], "7 samples were given for a file of 8"),
        (6, [images()], "7 samples were given for a file of 6"),
        (7, [images().astype(float)], r"float64 \(7, 5, 6, 3\) were given; a sample file takes uint8, uint16"),
        (14, [images(), images(channels=1)], r"\(7, 5, 6, 1\) were given"),
        (14, [images(), images().astype(np.float32)], r"float32 .* all of one dtype and shape"),
        (7, [np.zeros(7, np.uint8)], r"uint8 \(7,\) were given"),
    ],
)
def test_samples_that_do_not_belong_into_the_file_leave_none(tmp_path, num, batches, reason):
    with pytest.raises(ValueError, match=reason):
        write_npz(tmp_path / "samples.npz", num, batches)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_another_process_has_made_meanwhile_is_left_as_it_is(tmp_path):
    def batches():
        yield images(2)
        write_png_folder(tmp_path / "new", [images(1)])

    with pytest.raises(FileExistsError, match="give another folder"):
        write_png_folder(tmp_path / "new", batches())
    assert [path.name for path in tmp_path.rglob("*.*")] == ["000000.png"]


def test_a_folder_of_images_is_read_in_the_order_of_their_paths(tmp_path):
    x = images(3)
    for name, image in zip(("b.png", "a/z.PNG", "c.jpeg"), x, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (read,) = read_batches(tmp_path, 10)
    assert read.shape == (3, 5, 6, 3)
    np.testing.assert_array_equal(read[:2], x[[1, 0]])  # JPEG changes pixels


def test_samples_are_read_as_training_images_are(tmp_path):
    x, exif = images(1)[0], Image.Exif()
    exif[0x0112] = 6  # its rows are columns
    Image.fromarray(np.rot90(x)).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(x).save(tmp_path / "b.webp", lossless=True)
    Image.fromarray(np.dstack([x, np.zeros(x.shape[:2], np.uint8)])).save(tmp_path / "c.png")
    (tmp_path / "._a.png").write_bytes(b"left by another system")
    (read,) = read_batches(tmp_path, 10)
    np.testing.assert_array_equal(read, [x, x, np.full_like(x, 255)])
    deep = np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000
    (tmp_path / "deep").mkdir()
    Image.fromarray(deep).save(tmp_path / "deep" / "a.png")
    np.testing.assert_array_equal(next(read_batches(tmp_path / "deep", 2))[0, ..., 0], deep)


def test_a_folder_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"use uint8 \[B, H, W, 1 or 3\]"):
        write_png_folder(tmp_path / "new", [images(), images().astype(float)])
    assert not list(tmp_path.iterdir())
    write_png_folder(tmp_path / "new", [images(1)])
    with pytest.raises(FileExistsError, match="give another folder"):
        write_png_folder(tmp_path / "new", [images(1)])


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (images().astype(np.float32), "float32"),
        (images()[0], r"\(5, 6, 3\) as arr_0; samples are uint8"),
        (images(channels=2), r"samples are uint8 \[N, H, W, 1 or 3\]"),
        (np.asfortranarray(images()), "in Fortran order"),
        (images()[:0], r"uint8 \(0, 5, 6, 3\)"),
        (np.array([{}]), "object"),
    ],
)
def test_arrays_that_are_no_images_are_refused_in_one_sentence(tmp_path, array, reason):
    path = tmp_path / "samples.npz"
    np.savez(path, array)
    with pytest.raises(ValueError, match=reason) as caught:
        next(read_batches(path, 2))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_damaged_files_and_folders_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="is neither a folder of"):
        read_batches(tmp_path / "absent", 2)
    with pytest.raises(ValueError, match="use at least 1"):
        read_batches(tmp_path, 0)
    with pytest.raises(ValueError, match="contains no .png"):
        next(read_batches(tmp_path, 2))
    path = tmp_path / "samples.npz"
    np.savez(path, samples=images())
    with pytest.raises(ValueError, match="samples.npz has samples, but no arr_0; save the samples as arr_0"):
        next(read_batches(path, 2))
    np.savez(path, images())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read as samples"):
        list(read_batches(path, 2))
    write_png_folder(tmp_path / "new", [images(2)])
    Image.fromarray(images(1)[0, :4]).save(tmp_path / "new" / "000002.png")
    with pytest.raises(ValueError, match=r"000002.png is 4x6, but .*000000.png 5x6"):
        list(read_batches(tmp_path / "new", 2))
    broken = tmp_path / "new" / "000002.png"
    broken.write_bytes((tmp_path / "new" / "000001.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="000002.png is damaged"):
        list(read_batches(tmp_path / "new", 2))
    broken.write_bytes(b"not an image")
    with pytest.raises(ValueError, match="000002.png cannot be read as an image"):
        list(read_batches(tmp_path / "new", 2))
