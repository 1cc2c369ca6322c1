"""Data that a user names by a path: folders and zips of pictures, arrays, CIFAR-10's archive."""

import dataclasses
import io
import pathlib
import pickle
import struct
import tarfile
import zipfile

import absl.flags
import numpy as np
import pytest
from PIL import Image

from data import pipeline, stock
from data.readers import folders, records
from data.readers.cifar import CLASSES
from data.source import Reading

SHADES = np.random.default_rng(0).integers(0, 256, (12, 6, 4, 3), np.uint8)


def opened(dataset, split="train", **reading):
    return stock.load(dataset, split, reading=Reading(**reading))


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def everything(source):
    return source.fetch(np.arange(len(source)))


@pytest.fixture
def folder(tmp_path):
    """Twelve colour pictures of 6x4 pixels in three classes, and what an operating system leaves."""
    for i, pixels in enumerate(SHADES):
        save(tmp_path / "own" / ("ant", "bee", "cow")[i // 4] / f"{i:02d}.png", pixels)
    (tmp_path / "own" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "own" / "bee" / "Thumbs.db").write_bytes(b"x")
    return tmp_path / "own"


def zipped(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_pictures_classes_and_splits_of_a_folder_and_of_a_zip(folder, form):
    path = folder if form == "folder" else zipped(folder)
    train, test = (opened(f"{form}:{path}", split, test_every=4) for split in ("train", "test"))
    assert (train.shape, train.num_levels, train.num_classes, train.dtype) == ((6, 4, 3), 256, 3, "uint8")
    assert train.class_names == ("ant", "bee", "cow")
    held_out = np.arange(12) % 4 == 0
    for source, chosen in ((train, ~held_out), (test, held_out)):
        batch = everything(source)
        np.testing.assert_array_equal(batch["x"], SHADES[chosen])
        np.testing.assert_array_equal(batch["label"], (np.arange(12) // 4)[chosen])
        assert batch["label"].dtype == np.int32


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_folders_train_and_test_are_the_splits(tmp_path, form):
    for i, pixels in enumerate(SHADES):
        save(tmp_path / "own" / ("test" if i >= 8 else "train") / "ab"[i % 2] / f"{i:02d}.webp", pixels, lossless=True)
    path = tmp_path / "own" if form == "folder" else zipped(tmp_path / "own")
    train, test = (opened(f"{form}:{path}", split) for split in ("train", "test"))
    assert (len(train), len(test), train.class_names) == (8, 4, ("a", "b"))
    np.testing.assert_array_equal(everything(test)["x"], SHADES[[8, 10, 9, 11]])
    assert everything(test)["label"].tolist() == [0, 0, 1, 1]


def test_all_examples_are_in_both_splits_where_none_are_held_out(folder):
    assert [len(opened(f"folder:{folder}", split, test_every=0)) for split in ("train", "test")] == [12, 12]


def test_grey_and_sixteen_bit_pictures_have_one_channel_and_their_own_levels(tmp_path):
    grey = SHADES[..., 0]
    deep = grey.astype(np.uint16) * 257
    for i in range(4):
        save(tmp_path / "grey" / f"{i}.png", grey[i])
        save(tmp_path / "deep" / f"{i}.png", deep[i])
    for name, values, levels in (("grey", grey, 256), ("deep", deep, 65536)):
        source = opened(f"folder:{tmp_path / name}", test_every=0)
        assert (source.shape, source.num_levels, source.num_classes) == ((6, 4, 1), levels, 0)
        assert source.dtype == values.dtype.name
        np.testing.assert_array_equal(everything(source)["x"][..., 0], values[:4])
    half = opened(f"folder:{tmp_path / 'deep'}", test_every=0, resize="stretch", shape=(3, 2, 1))
    mean = deep[:4].mean(axis=(1, 2))
    # Resizing keeps the mean but for what is cut off at the borders of the filter: it is no 8-bit number times 257.
    np.testing.assert_allclose(everything(half)["x"].mean(axis=(1, 2, 3)), mean, rtol=0.2)
    assert (everything(half)["x"] % 257 != 0).any()


def test_mixed_sizes_are_cropped_or_stretched_to_one(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200  # the central square
    save(tmp_path / "a.png", wide)
    save(tmp_path / "b.jpg", np.full((8, 8), 90, np.uint8))  # grey beside colour becomes colour
    cropped = opened(f"folder:{tmp_path}", test_every=0, resize="crop", image_size=5)
    assert cropped.shape == (5, 5, 3)
    first, second = everything(cropped)["x"]
    assert (first == 200).all() and np.abs(second.astype(int) - 90).max() <= 1  # JPEG's own rounding
    stretched = everything(opened(f"folder:{tmp_path}", test_every=0, resize="stretch", image_size=5))["x"][0]
    assert (stretched[:, 0] < 30).all() and (stretched[:, 2] > 170).all()


def test_photographs_are_turned_the_right_way_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # its rows are columns
    save(tmp_path / "a.png", SHADES[0], exif=exif)
    source = opened(f"folder:{tmp_path}", test_every=0)
    np.testing.assert_array_equal(everything(source)["x"][0], np.rot90(SHADES[0], -1))


def damaged(folder, name="bee/05.png"):
    """Cuts a picture in its pixels: the header is whole."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-30])


def test_a_broken_picture_is_named(folder):
    damaged(folder)
    source = opened(f"folder:{folder}", test_every=4)
    with pytest.raises(ValueError, match=r"own/bee/05.png cannot be read as a picture \(.*\); replace it, or set"):
        everything(source)
    (folder / "bee" / "06.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"own/bee/06.png cannot be read as a picture \(cannot identify .*\); replace"):
        opened(f"folder:{folder}", test_every=4)


@pytest.mark.parametrize("kept", [False, True])
def test_skipping_broken_pictures_leaves_the_order_a_function_of_the_files(folder, tmp_path, kept):
    """What has no header is left out; what breaks in decoding gives way to the next; nothing else moves."""
    damaged(folder)
    (folder / "bee" / "06.png").write_bytes(b"nothing")
    options = {"test_every": 4, "on_corrupt": "skip", "cache_dir": str(tmp_path / "cache") if kept else None}
    train, test = (opened(f"folder:{folder}", split, **options) for split in ("train", "test"))
    expected = [1, 2, 3, 7, 7, 9, 10, 11]  # of 5 there is the next, 7; 6 is not there
    for order in (np.arange(8), np.arange(8)[::-1]):
        np.testing.assert_array_equal(train.fetch(order)["x"], SHADES[np.array(expected)[order]])
    np.testing.assert_array_equal(everything(test)["x"], SHADES[[0, 4, 8]])


def test_decoded_pictures_are_kept_on_disk_under_what_they_were_made_of(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"

    def examples(**options):
        return everything(opened(f"folder:{folder}", test_every=4, cache_dir=str(cache), **options))

    first = examples()
    (kept,) = cache.iterdir()
    assert kept.suffix == ".array_record"
    with monkeypatch.context() as patch:
        patch.setattr(folders.pictures, "decode", None)  # whoever decodes again fails
        again = examples()
    for name in ("x", "label"):
        np.testing.assert_array_equal(first[name], again[name])
    np.testing.assert_array_equal(first["x"], SHADES[np.arange(12) % 4 != 0])
    examples(resize="crop", image_size=4)
    save(folder / "ant" / "01.png", SHADES[0][::-1])
    np.testing.assert_array_equal(examples()["x"][0], SHADES[0][::-1])
    assert len(list(cache.iterdir())) == 3


def test_a_cache_that_is_interrupted_leaves_nothing(folder, tmp_path):
    damaged(folder, "cow/11.png")
    with pytest.raises(ValueError, match="11.png cannot be read"):
        opened(f"folder:{folder}", test_every=4, cache_dir=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


ARRAYS = {
    "vectors": np.arange(60, dtype=np.uint8).reshape(20, 3),
    "series": np.random.default_rng(0).normal(size=(20, 7, 2)),
    "images": np.arange(20 * 12, dtype=np.uint16).reshape(20, 3, 4, 1) * 200,
    "volumes": np.zeros((20, 2, 3, 4, 5), bool),
}


@pytest.mark.parametrize("form", ["npy", "npz"])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_rank_are_examples(tmp_path, name, form):
    array, path = ARRAYS[name], tmp_path / f"a.{form}"
    np.save(path, array) if form == "npy" else np.savez(path, array)
    train, test = (opened(f"{form}:{path}", split, test_every=5) for split in ("train", "test"))
    levels = {"uint8": 256, "uint16": 65536, "bool": 2}.get(array.dtype.name, 0)
    assert (train.shape, train.num_levels, train.num_classes) == (array.shape[1:], levels, 0)
    assert train.dtype == {"float64": "float32", "bool": "uint8"}.get(array.dtype.name, array.dtype.name)
    held_out = np.arange(20) % 5 == 0
    np.testing.assert_array_equal(everything(train)["x"], array[~held_out].astype(train.dtype))
    np.testing.assert_array_equal(everything(test)["x"], array[held_out].astype(train.dtype))


def test_an_npy_file_stays_on_disk_and_may_have_labels_beside_it(tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS["images"])
    np.save(tmp_path / "y.npy", np.arange(20) % 3)
    source = opened(f"npy:{tmp_path}/x.npy,{tmp_path}/y.npy", test_every=0)
    assert isinstance(source.fetch.array, np.memmap) and source.num_classes == 3
    assert everything(source)["label"].tolist() == (np.arange(20) % 3).tolist()


def test_an_npz_file_names_examples_and_labels(tmp_path):
    np.savez(tmp_path / "a.npz", x=ARRAYS["series"], y=np.arange(20) % 2, other=np.zeros(3))
    source = opened(f"npz:{tmp_path}/a.npz", test_every=0)
    assert (source.shape, source.num_classes, source.num_levels) == ((7, 2), 2, 0)


def test_integers_take_the_number_of_levels_and_the_shape_that_they_are_given(tmp_path):
    array = np.arange(80).reshape(5, 16) % 17
    np.save(tmp_path / "x.npy", array)
    source = opened(f"npy:{tmp_path}/x.npy", test_every=0, num_levels=17, shape=(4, 4, 1))
    assert (source.shape, source.num_levels, source.dtype) == ((4, 4, 1), 17, "uint8")
    np.testing.assert_array_equal(everything(source)["x"].reshape(5, 16), array)
    fewer = opened(f"npy:{tmp_path}/x.npy", test_every=0, num_levels=16)
    with pytest.raises(ValueError, match=r"row 1 of .*x.npy has the value 16, but levels 0 to 15 are expected"):
        everything(fewer)


CIFAR = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), np.uint8)


def cifar_files(kind, evil=None):
    """{name: bytes} of an archive of twelve images, two in each batch."""
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for k, name in enumerate(names):
        rows = CIFAR[2 * k : 2 * k + 2].transpose(0, 3, 1, 2).reshape(2, 3072)
        labels = [(2 * k) % 10, (2 * k + 1) % 10]
        if kind == "binary":
            yield (
                f"cifar-10-batches-bin/{name}.bin",
                b"".join(struct.pack("B", y) + row.tobytes() for y, row in zip(labels, rows, strict=True)),
            )
        else:
            content = {b"data": rows, b"labels": labels, b"batch_label": b"some"}
            yield f"cifar-10-batches-py/{name}", pickle.dumps(evil if evil and k == 0 else content, protocol=2)


def archive(tmp_path, kind, form, **options):
    root = tmp_path / f"cifar-10-{kind}.tar.gz"
    if form == "folder":
        for name, content in cifar_files(kind, **options):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return tmp_path
    with tarfile.open(root, "w:gz") as tar:
        for name, content in cifar_files(kind, **options):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return root


@pytest.mark.parametrize("form", ["archive", "folder"])
@pytest.mark.parametrize("kind", ["python", "binary"])
def test_cifar10_is_read_from_its_own_archive(tmp_path, kind, form):
    path = archive(tmp_path, kind, form)
    train, test = (opened(f"cifar10:{path}", split) for split in ("train", "test"))
    assert (train.shape, train.num_levels, train.class_names) == ((32, 32, 3), 256, CLASSES)
    np.testing.assert_array_equal(everything(train)["x"], CIFAR[:10])
    np.testing.assert_array_equal(everything(test)["x"], CIFAR[10:])
    assert everything(train)["label"].tolist() == list(range(10)) and everything(test)["label"].tolist() == [0, 1]


class Evil:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("executed"),)


def test_nothing_in_a_batch_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path, "python", "archive", evil=Evil())
    with pytest.raises(ValueError, match=r"data_batch_1 of .*tar.gz cannot be read \(it asks for .*, which is not exe"):
        opened(f"cifar10:{path}")
    assert not (tmp_path / "executed").exists()


def test_an_archive_without_a_batch_or_cut_off_is_named(tmp_path):
    path = archive(tmp_path, "python", "folder")
    (path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(ValueError, match=f"{path} has no data_batch_3; give CIFAR-10's own archive"):
        opened(f"cifar10:{path}")
    whole = archive(tmp_path, "binary", "archive")
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz cannot be read as an archive"):
        opened(f"cifar10:{whole}")


def forms(tmp_path, folder):
    """{kind: how a source of it is opened}."""
    np.save(tmp_path / "x.npy", ARRAYS["images"])
    np.savez(tmp_path / "x.npz", x=ARRAYS["series"])
    return {
        "folder": lambda: opened(f"folder:{folder}"),
        "records": lambda: opened(f"folder:{folder}", cache_dir=str(tmp_path / "cache")),
        "zip": lambda: opened(f"zip:{zipped(folder)}"),
        "npy": lambda: opened(f"npy:{tmp_path}/x.npy"),
        "npz": lambda: opened(f"npz:{tmp_path}/x.npz"),
        "cifar10": lambda: opened(f"cifar10:{archive(tmp_path, 'binary', 'archive')}"),
    }


def batches_of(source, count, **options):
    options |= {"seed": 3, "batch_size": 8, "start_step": 5, "random_flip": len(source.shape) == 3}
    with pipeline.train_batches(source, **options) as batches:
        return [next(batches) for _ in range(count)]


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("folder", "zip", "npy", "npz", "cifar10")]


@pytest.mark.parametrize("kind", ["records", *SLOW])
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
            for name in ("x", "label"):
                joined = np.concatenate([part[step][name] for part in parts])
                np.testing.assert_array_equal(joined, expected[step][name])


@pytest.mark.slow
def test_worker_processes_and_threads_give_the_same_batches(tmp_path, folder):
    absl.flags.FLAGS.mark_as_parsed()  # grain's processes read absl's flags
    for open_source in forms(tmp_path, folder).values():
        expected = batches_of(open_source(), 3)
        for options in ({"num_workers": 2}, {"num_threads": 3}):
            for ours, one in zip(batches_of(open_source(), 3, **options), expected, strict=True):
                for name in ("x", "label"):
                    np.testing.assert_array_equal(ours[name], one[name])


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
    "folder:{0}": (lambda d: None, "{0} has no .png, .jpg, .jpeg, .webp file; give a folder or archive of pictures."),
    "folder:{0}/text": (
        lambda d: (small(d / "text" / "a.png"), write(d / "text" / "notes.txt")),
        "{0}/text/notes.txt is not a picture (.png, .jpg, .jpeg, .webp); remove it, or set config.data.on_corrupt",
    ),
    "folder:{0}/mixed": (
        lambda d: (small(d / "mixed" / "a.png"), small(d / "mixed" / "b.png", 5)),
        "{0}/mixed/a.png is 4x4, but {0}/mixed/b.png is 5x5; set config.data.resize to crop or stretch, and config.da",
    ),
    "folder:{0}/deep": (
        lambda d: (small(d / "deep" / "a.png"), small(d / "deep" / "b.png", dtype=np.uint16)),
        "{0}/deep/b.png has 16 bits and {0}/deep/a.png 8; give pictures of one depth.",
    ),
    "folder:{0}/classes": (
        lambda d: (
            small(d / "classes" / "a" / "1.png"),
            small(d / "classes" / "a" / "2.png"),
            (d / "classes/b").mkdir(),
        ),
        "the class b ({0}/classes/b) has no picture to train on; add some, or remove the folder.",
    ),
    "folder:{0}/half": (
        lambda d: small(d / "half" / "train" / "1.png"),
        "{0}/half has a folder train but no pictures in a folder test; add them, or give {0}/half/train itself",
    ),
    "folder:{0}/new": (
        lambda d: [
            small(d / "new" / name) for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png")
        ],
        "{0}/new/test/c is a class of which {0}/new/train has no folder; add it.",
    ),
    "folder:{0}/one": (lambda d: small(d / "one" / "a.png"), "{0}/one has 1 picture(s), none of them in the train spl"),
    "zip:{0}/a.zip": (lambda d: write(d / "a.zip", b"PK"), "{0}/a.zip cannot be read as a zip archive ("),
    "npy:{0}/a.npy": (lambda d: write(d / "a.npy", b"x"), "{0}/a.npy cannot be read as an array ("),
    "npy:{0}/o.npy": (
        lambda d: np.save(d / "o.npy", np.array([{}], object)),
        "{0}/o.npy cannot be read as an array (",
    ),
    "npy:{0}/flat.npy": (
        lambda d: np.save(d / "flat.npy", np.zeros(5)),
        "{0}/flat.npy holds float64 (5,), but examples [N, ...] are expected; give vectors as [N, D].",
    ),
    "npy:{0}/int.npy": (
        lambda d: np.save(d / "int.npy", np.zeros((5, 2), int)),
        "{0}/int.npy holds int64, which does not tell the number of levels; set config.data.num_levels",
    ),
    "npy:{0}/c.npy": (
        lambda d: np.save(d / "c.npy", np.zeros((5, 2), complex)),
        "{0}/c.npy holds complex128; use integers (levels) or floats.",
    ),
    "npz:{0}/names.npz": (
        lambda d: np.savez(d / "names.npz", a=np.zeros(3), b=np.zeros(3)),
        "{0}/names.npz holds a, b; name the examples x (or arr_0) and their labels y (or labels).",
    ),
    "npz:{0}/gap.npz": (
        lambda d: np.savez(d / "gap.npz", x=np.zeros((4, 2)), y=np.array([0, 2, 2, 3])),
        "the labels of {0}/gap.npz go to 3, but no example has the class 1; number the classes 0 to 2.",
    ),
    "npz:{0}/few.npz": (
        lambda d: np.savez(d / "few.npz", x=np.zeros((4, 2)), y=np.zeros(3, int)),
        "the labels of {0}/few.npz are int64 (3,), but integers (4,) are expected, one for each example.",
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


def test_a_value_that_is_not_finite_is_named_with_its_row(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0.0], [1.0], [np.nan]]))
    with pytest.raises(ValueError, match=r"row 2 of .*x.npy has the value nan, but finite numbers are expected"):
        everything(opened(f"npy:{tmp_path}/x.npy", test_every=0))


def test_a_cache_that_cannot_be_written_names_the_key(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"config.data.cache_dir = .*file cannot be written"):
        opened(f"folder:{folder}", cache_dir=str(tmp_path / "file"))


def test_records_are_written_under_another_name_first(tmp_path, monkeypatch):
    seen = []
    replace = records.os.replace
    monkeypatch.setattr(records.os, "replace", lambda a, b: (seen.append((a, pathlib.Path(b).exists())), replace(a, b)))
    source = stock.from_arrays("a", SHADES)
    records.cached_on_disk(source, tmp_path / "stem")
    assert len(seen) == 1 and not seen[0][1] and [path.name for path in tmp_path.iterdir()] == ["stem.array_record"]
