"""What lies in a user's folders beside good images: it is used, named once, or refused, and never lost silently."""

import os

import numpy as np
import pytest

from data import stock
from data.readers.inputs import read_examples, read_mask
from data.readers.samples import read_batches
from tests.support.own_data import PIXELS, everything, opened, save


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_skipped_files_are_one_line(folder, caplog):
    for i in range(8):
        (folder / "ant" / f"note{i}.txt").write_text("words")
        (folder / "bee" / f"broken{i}.png").write_bytes(b"nothing")
    for split in ("train", "test"):
        opened(f"folder:{folder}", split, on_corrupt="skip")
    (line,) = messages(caplog)
    assert line.startswith(f"16 file(s) of {folder} are skipped: ant/note0.txt (not an image), ")
    assert line.endswith("and 13 more")


def test_images_that_cannot_be_decoded_are_one_line(folder, caplog):
    for path in sorted(folder.rglob("*.png"))[2:8]:
        path.write_bytes(path.read_bytes()[:-30])
    everything(opened(f"folder:{folder}", test_every=0, on_corrupt="skip"))
    assert len(messages(caplog)) == 1 and "further ones are not listed" in caplog.text


def test_two_folders_for_one_split_are_refused(tmp_path):
    for name in ("train", "val", "valid"):
        save(tmp_path / name / "a.png", PIXELS[0])
    with pytest.raises(ValueError, match="has folders val and valid, which mean the same split; rename or join them"):
        opened(f"folder:{tmp_path}")


def test_what_is_neither_a_file_nor_a_folder_is_named(folder, caplog):
    os.mkfifo(folder / "pipe.png")
    assert len(opened(f"folder:{folder}", test_every=0)) == 12
    assert messages(caplog) == [f"{folder}/pipe.png is not a file (left out)"]


def new_class(folder):
    save(folder / "test" / "new" / "a.png", PIXELS[0])
    return f"folder:{folder}"


def empty_class(folder):
    (folder / "train" / "empty").mkdir(exist_ok=True)
    return f"folder:{folder}"


def targets_of_floats(folder):
    np.savez(folder.parent / "a.npz", x=PIXELS, y=np.linspace(0, 1, 12))
    return f"npz:{folder.parent}/a.npz"


def gap(folder):
    np.savez(folder.parent / "b.npz", x=PIXELS, y=np.arange(12) * 2)
    return f"npz:{folder.parent}/b.npz"


def scores(folder):
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*.png"))]
    lines = [f"{name},{0.5 + i}" for i, name in enumerate(names)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    return f"folder:{folder}"


@pytest.mark.parametrize("kind", [new_class, empty_class, targets_of_floats, gap, scores])
def test_classes_abort_only_a_model_that_needs_them(tmp_path, kind, caplog):
    for i, pixels in enumerate(PIXELS[:8]):
        save(tmp_path / "own" / ("train", "test")[i // 4] / "ab"[i % 2] / f"{i}.png", pixels)
    dataset = kind(tmp_path / "own")
    with pytest.raises(ValueError, match="class|label"):
        for split in ("train", "test"):
            opened(dataset, split)
    for split in ("train", "test"):
        everything(opened(dataset, split, classes_needed=False))
    assert "(the data are used without classes, because the model needs none)" in caplog.text


def test_values_beyond_float32_are_named_as_infinite_ones_are(tmp_path):
    values = np.zeros((20, 3))
    values[13, 1] = 1e300
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError, match=r"row 13 of .*x.npy has the value inf, but finite numbers are expected"):
        everything(opened(f"npy:{tmp_path}/x.npy"))


def test_published_folders_follow_links_and_name_a_broken_image(tmp_path):
    save(tmp_path / "elsewhere" / "a.png", PIXELS[0])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "own" / "b.png").write_bytes(b"nothing")
    source = stock.load("folder", "train", str(tmp_path / "own"), 4)
    assert len(source) == 2
    with pytest.raises(ValueError, match=r"own/b.png cannot be read as an image \(it is no PNG, JPEG or WebP image"):
        everything(source)


# Input and samples ------------------------------------------------------------------------------------------------


def test_files_that_are_no_images_are_listed_once(tmp_path, caplog):
    for name in ("a.png", "b.png"):
        save(tmp_path / name, PIXELS[0])
    for name in ("notes.txt", "c.bmp"):
        (tmp_path / name).write_text("words")
    assert read_examples(tmp_path, (6, 4, 3), 256)[0] == ["a", "b"]
    assert next(read_batches(tmp_path, 4)).shape == (2, 6, 4, 3)
    assert messages(caplog) == [
        f"c.bmp, notes.txt of {tmp_path} are no images or arrays (left out)",
        f"c.bmp, notes.txt of {tmp_path} are no images (left out)",
    ]


@pytest.mark.parametrize(("dataset", "size"), [("CIFAR10", 32), ("celeba", 64), ("LSUN", 128), ("ffhq", 256)])
def test_input_is_resized_as_a_published_data_set_is(tmp_path, dataset, size):
    photograph = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
    save(tmp_path / "a.png", photograph)
    resize = stock.resize_of(dataset)
    _, found = read_examples(tmp_path / "a.png", (size, size, 3), 256, resize)
    np.testing.assert_array_equal(found[0], resize(photograph, size))
    assert stock.resize_of(f"folder:{tmp_path}") is None and stock.resize_of("digits") is None


def test_an_input_that_is_too_small_for_that_is_named(tmp_path):
    save(tmp_path / "a.png", PIXELS[0])
    with pytest.raises(ValueError, match=r"a.png cannot be resized as in training: .* has no central crop of 140x140"):
        read_examples(tmp_path / "a.png", (64, 64, 3), 256, stock.resize_of("celeba"))


@pytest.mark.parametrize("rule", ["crop", "stretch"])
def test_a_mask_is_cropped_and_resized_as_its_input(tmp_path, rule):
    shown = np.zeros((12, 20), np.uint8)
    shown[:, 4:16] = 255  # the largest central square
    shown[:6, 4:10] = 0
    save(tmp_path / "mask.png", shown)
    mask = read_mask(tmp_path / "mask.png", (4, 4, 3), rule)
    assert mask.shape == (4, 4, 1) and mask.dtype == bool
    if rule == "crop":
        expected = np.ones((4, 4), bool)
        expected[:2, :2] = False
        np.testing.assert_array_equal(mask[..., 0], expected)
    else:
        assert not mask[:2, :2].any() and mask[2:, 1:3].all()
