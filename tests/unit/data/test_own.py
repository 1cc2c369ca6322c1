"""Every form of data given by a path: the same batches from any number of workers, and one sentence for each fault."""

import dataclasses

import numpy as np
import pytest

from data import pipeline
from tests.support.own_data import batches_of, forms, opened, save


@pytest.mark.parametrize("kind", ["records", "folder", "zip", "npy", "npz", "cifar10"])
def test_the_order_is_that_of_one_process_and_resuming_reads_nothing_earlier(tmp_path, folder, kind):
    source, read = forms(tmp_path, folder)[kind](), []

    def counted(indices):
        read.extend(indices.tolist())
        return source.fetch(indices)

    expected = batches_of(dataclasses.replace(source, fetch=counted), 2)
    order = [pipeline.examples_of_step(source, seed=3, batch_size=8, step=step) for step in range(5, 40)]
    np.testing.assert_array_equal(read, np.concatenate(order)[: len(read)])
    for count in (2, 4):
        parts = [batches_of(source, 2, process_index=index, process_count=count) for index in range(count)]
        for step in range(2):
            for name in source.fields:
                joined = np.concatenate([part[step][name] for part in parts])
                np.testing.assert_array_equal(joined, expected[step][name])


def test_a_path_alone_is_a_folder_or_what_its_ending_says(tmp_path, folder):
    np.save(tmp_path / "x.npy", np.zeros((20, 3)))
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 4)))
    assert len(opened(str(folder), test_every=0)) == 12
    assert [opened(f"{tmp_path}/x.{form}").shape for form in ("npy", "npz")] == [(3,), (4,)]
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere does not exist"):
        opened(f"{tmp_path}/nowhere")


def write(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def small(path, size=4, dtype=np.uint8):
    save(path, np.zeros((size, size), dtype))


CASES = {
    "folder:{0}/nowhere": (lambda d: None, "the folder {0}/nowhere does not exist; config.data.dataset must name a"),
    "zip:{0}/no.zip": (lambda d: None, "the file {0}/no.zip does not exist; config.data.dataset must name a zip"),
    "npy:{0}/no.npy": (lambda d: None, "{0}/no.npy does not exist; config.data.dataset must name an .npy file."),
    "cifar10:{0}/no": (lambda d: None, "{0}/no does not exist; config.data.dataset = 'cifar10:PATH' names"),
    "foldr:{0}": (lambda d: None, "config.data.dataset = 'foldr:{0}' is not a form and a path; choose one of folder:P"),
    "folder:{0}": (lambda d: None, "{0} has no .png, .jpg, .jpeg, .webp file; give a folder or archive of images."),
    "folder:{0}/text": (
        lambda d: (small(d / "text" / "a.png"), write(d / "text" / "notes.txt")),
        "{0}/text/notes.txt is not an image (.png, .jpg, .jpeg, .webp); remove it, or set config.data.on_corrupt",
    ),
    "folder:{0}/mixed": (
        lambda d: (small(d / "mixed" / "a.png"), small(d / "mixed" / "b.png", 5)),
        "{0}/mixed/a.png is 4x4, but {0}/mixed/b.png is 5x5; set config.data.resize to crop or stretch, and config.da",
    ),
    "folder:{0}/deep": (
        lambda d: (small(d / "deep" / "a.png"), small(d / "deep" / "b.png", dtype=np.uint16)),
        "{0}/deep/b.png has 16 bits and {0}/deep/a.png 8; give images of one depth, or set config.data.num_levels to 2",
    ),
    "folder:{0}/classes": (
        lambda d: (
            small(d / "classes" / "a" / "1.png"),
            small(d / "classes" / "a" / "2.png"),
            (d / "classes/b").mkdir(),
        ),
        "the class b ({0}/classes/b) has no training images; add some, or remove the folder.",
    ),
    "folder:{0}/half": (
        lambda d: small(d / "half" / "train" / "1.png"),
        "{0}/half has a folder train but no images in a folder test; add them, or give {0}/half/train itself",
    ),
    "folder:{0}/new": (
        lambda d: [
            small(d / "new" / name) for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png")
        ],
        "{0}/new/test/c is a class without a folder in {0}/new/train; add it.",
    ),
    "folder:{0}/one": (lambda d: small(d / "one" / "a.png"), "{0}/one has 1 image(s), none of them in the train spl"),
    "zip:{0}/a.zip": (lambda d: write(d / "a.zip", b"PK"), "{0}/a.zip cannot be read as a zip archive ("),
    "npy:{0}/a.npy": (lambda d: write(d / "a.npy", b"x"), "{0}/a.npy cannot be read as an array ("),
    "npy:{0}/o.npy": (
        lambda d: np.save(d / "o.npy", np.array([{}], object)),
        "{0}/o.npy cannot be read as an array (",
    ),
    "npy:{0}/flat.npy": (
        lambda d: np.save(d / "flat.npy", np.zeros(5)),
        "{0}/flat.npy contains float64 (5,), but examples [N, ...] are expected; give vectors as [N, D].",
    ),
    "npy:{0}/int.npy": (
        lambda d: np.save(d / "int.npy", np.zeros((5, 2), int)),
        "{0}/int.npy contains int64, which does not determine the number of levels; set config.data.num_levels",
    ),
    "npy:{0}/c.npy": (
        lambda d: np.save(d / "c.npy", np.zeros((5, 2), complex)),
        "{0}/c.npy contains complex128; use integers (levels) or floats.",
    ),
    "npz:{0}/names.npz": (
        lambda d: np.savez(d / "names.npz", a=np.zeros(3), b=np.zeros(3)),
        "{0}/names.npz contains a, b; name the examples x (or arr_0) and their labels y (or labels).",
    ),
    "npz:{0}/gap.npz": (
        lambda d: np.savez(d / "gap.npz", x=np.zeros((4, 2)), y=np.array([0, 2, 2, 3])),
        "the labels of {0}/gap.npz go to 3, but no example has the class 1; number the classes 0 to 2.",
    ),
    "npz:{0}/few.npz": (
        lambda d: np.savez(d / "few.npz", x=np.zeros((4, 2)), y=np.zeros(3, int)),
        "the labels of {0}/few.npz are int64 (3,), but integers (4,) are expected, one per example.",
    ),
}


@pytest.mark.parametrize("dataset", CASES)
def test_what_cannot_be_read_is_one_sentence_that_names_the_file(tmp_path, dataset):
    make, message = CASES[dataset]
    make(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        for split in ("train", "test"):
            opened(dataset.format(tmp_path), split)
    assert str(error.value).startswith(message.format(tmp_path)) and "\n" not in str(error.value)
