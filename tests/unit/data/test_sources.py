"""The embedded digits equal scikit-learn's; stock data sets are read by their published names and crops."""

import hashlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.datasets import load_digits

from data import images
from data import stock as sources
from data.fields import Field, labeled
from tests.support.prepared import mocked


@pytest.fixture
def stock():
    """Stock data sets with ten random examples each, without any file."""
    with mocked(10):
        yield


def test_digits_are_those_of_scikit_learn():
    original = load_digits()
    is_test = np.arange(1797) % 6 == 0
    for split, chosen, size in [("train", ~is_test, 1497), ("test", is_test, 300)]:
        source = sources.load("digits", split, image_size=8)
        assert (len(source), source.shape, source.num_levels, source.num_classes) == (size, (8, 8, 1), 17, 10)
        batch = source.fetch(np.arange(size))
        assert (batch["x"].dtype, batch["label"].dtype) == (np.uint8, np.int32)
        # The order is another: compare the examples as sets.
        ours = [(x.tobytes(), y) for x, y in zip(batch["x"], batch["label"], strict=True)]
        theirs = zip(original.images[chosen].astype(np.uint8), original.target[chosen], strict=True)
        assert sorted(ours) == sorted((x.tobytes(), y) for x, y in theirs)


def test_photos_are_crops_of_two_photographs_and_test_crops_share_no_pixel_with_train_crops():
    from sklearn.datasets import load_sample_image

    train, test = (sources.load("photos", split) for split in ("train", "test"))
    assert (train.shape, train.num_levels, train.num_classes) == ((32, 32, 3), 256, 2)
    assert (len(train), len(test)) == (2 * 50 * 61, 2 * 50 * 13)
    for source, lefts in ((train, range(0, 481, 8)), (test, range(512, 609, 8))):
        batch = source.fetch(np.arange(len(source)))
        expected = {
            (label, photo[top : top + 32, left : left + 32].tobytes())
            for label, photo in enumerate(load_sample_image(f"{name}.jpg") for name in ("china", "flower"))
            for top in range(0, 396, 8)
            for left in lefts
        }
        assert {(int(y), x.tobytes()) for x, y in zip(batch["x"], batch["label"], strict=True)} == expected
    assert max(range(0, 481, 8)) + 32 <= 512  # where the first test crop begins, the right fifth


def test_fetching_many_equals_fetching_one_by_one():
    for source in [sources.load("digits", "test"), sources.load("synthetic", "test", None, 4)]:
        many = source.fetch(np.array([7, 2, 7, 0]))
        for i, index in enumerate([7, 2, 7, 0]):
            one = source.fetch(np.array([index]))
            np.testing.assert_array_equal(one["x"][0], many["x"][i])
            assert one["label"][0] == many["label"][i]


# The first digits of the SHA-256 of x and label, in the order of the examples.
CONTENTS = {
    ("digits", "train"): ("54866e1f78e36682", "d96589fa2efcfb15"),
    ("digits", "test"): ("161c6fdbcf8b8803", "82e549fdb53df8cb"),
    ("photos", "train"): ("094021386d6c9eac", "a9cb9dcb302a474b"),
    ("photos", "test"): ("593a907330b28b1c", "0d380f75aa7f54b1"),
    ("co2", "train"): ("90f5cb1b2060b23f", "658a7586f39d12cf"),
    ("co2", "test"): ("662a18f201f8f7e3", "66690b98205b2d30"),
    ("blobs", "test"): ("38a8fb5ef9c4d8a1", "67042dfda5683aea"),
    ("phantoms", "test"): ("1ebd7fdcb6a16a30", "67042dfda5683aea"),
    ("phantoms_lesions", "test"): ("a9b0e78690d9f6e9", "d4b5cf2704d594d8"),
    ("phantoms_16", "test"): ("c29df51ac8b9317b", "6d9c54dee5660c46"),
    ("tumors", "train"): ("2f166c5d927a595b", "867960646bdc8d51"),
    ("tumors", "test"): ("a7975fb88e771c80", "49db2340b55662cd"),
}


@pytest.mark.parametrize(("dataset", "split"), CONTENTS)
def test_embedded_examples_and_their_order_never_change(dataset, split):
    source = sources.load(dataset, split, "/nowhere")  # no data directory is needed
    batch = source.fetch(np.arange(len(source)))
    assert (
        tuple(hashlib.sha256(batch[key].tobytes()).hexdigest()[:16] for key in ("x", "label"))
        == (CONTENTS[dataset, split])
    )


def test_tumors_keep_their_older_name():
    old, new = (sources.load(name, "test").fetch(np.arange(5)) for name in ("tumours", "tumors"))
    np.testing.assert_array_equal(old["x"], new["x"])


def test_synthetic_examples_have_the_shape_asked_for_and_differ_between_splits():
    train = sources.load("SYNTHETIC", "train", None, 4, num_channels=2)
    test = sources.load("synthetic", "test", None, 4, num_channels=2)
    assert train.shape == (4, 4, 2) and len(train) == 512 and len(test) == 128
    a, b = train.fetch(np.arange(3)), test.fetch(np.arange(3))
    assert a["x"].shape == (3, 4, 4, 2) and (a["x"] != b["x"]).any() and len(np.unique(a["x"])) > 50


@pytest.mark.parametrize(
    ("dataset", "split", "size", "num_classes"),
    [
        ("CIFAR10", "train", 32, 10),
        ("SVHN", "test", 32, 10),
        ("CELEBA", "validation", 64, 0),
        ("LSUN", "train", 256, 0),
        ("LSUN", "validation", 128, 0),
        ("CelebAHQ", "train", 64, 0),
    ],
)
def test_stock_data_sets_are_read_by_their_published_names(stock, dataset, split, size, num_classes):
    source = sources.load(dataset, split, image_size=size, category="church_outdoor" if dataset == "LSUN" else None)
    assert (len(source), source.shape, source.num_levels) == (10, (size, size, 3), 256)
    assert source.num_classes == num_classes
    batch = source.fetch(np.array([3, 0, 9]))
    assert batch["x"].shape == (3, size, size, 3) and batch["x"].dtype == np.uint8
    assert batch["label"].shape == (3,) and batch["label"].dtype == np.int32


def test_cifar10_passes_unchanged_and_celeba_is_cropped(stock):
    for name, dataset, change in [
        ("cifar10", "CIFAR10", lambda image: image),
        ("celeb_a", "CELEBA", lambda image: images.resize(image[39:179, 19:159], 64, 64)),
    ]:
        records = tfds.builder(name).as_data_source(split="train")
        batch = sources.load(dataset, "train").fetch(np.array([4, 1]))
        for i, index in enumerate([4, 1]):
            np.testing.assert_array_equal(batch["x"][i], change(records[index]["image"]))


def test_a_cached_source_reads_each_example_once():
    read = []

    def fetch(indices):
        read.extend(indices.tolist())
        return {"x": np.full((len(indices), 1, 1, 1), indices.reshape(-1, 1, 1, 1), np.uint8), "label": indices}

    source = sources.cached(sources.Source("counted", 9, labeled(Field((1, 1, 1), "uint8", 256)), fetch))
    for indices in [[3, 5, 3], [5, 8, 0], [0, 3]]:
        np.testing.assert_array_equal(source.fetch(np.array(indices))["x"].ravel(), indices)
    assert sorted(read) == [0, 3, 5, 8]


@pytest.mark.parametrize(("dataset", "below"), [("FFHQ", "ffhq"), ("folder", "")])
def test_a_folder_of_images_is_read_in_the_order_of_its_paths(tmp_path, dataset, below):
    (tmp_path / below).mkdir(exist_ok=True)
    for name, gray in [("b.png", 200), ("a.png", 100)]:
        Image.fromarray(np.full((6, 9), gray, np.uint8)).save(tmp_path / below / name)
    source = sources.load(dataset, "train", str(tmp_path), 4)
    assert len(source) == 2 and source.shape == (4, 4, 3)
    np.testing.assert_array_equal(source.fetch(np.array([1, 0]))["x"][:, 0, 0], [[200] * 3, [100] * 3])


def test_evaluation_splits_are_the_published_ones():
    expected = {"CIFAR10": "test", "SVHN": "test", "CELEBA": "validation", "LSUN": "validation", "FFHQ": "train"}
    assert {name: sources.eval_split(name) for name in expected} == expected
    assert sources.eval_split("digits") == "test"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("CIFR10", "train"), {}, "unknown data set 'cifr10'; choose one of cifar10, .*did you mean 'cifar10'"),
        (("CELEBA", "tests"), {}, "unknown split of CELEBA 'tests'; choose one of .*did you mean 'test'"),
        (("digits", "validation"), {}, "unknown split of digits 'validation'; choose one of train, test"),
        (("LSUN", "train"), {}, "unknown category of lsun ''; choose one of classroom, bedroom"),
        (("LSUN", "train"), {"category": "bedrom"}, "did you mean 'bedroom'"),
        (("CelebAHQ", "train"), {"image_size": 200}, "unknown size of celebahq '200'; choose one of 1024"),
        (("digits", "train"), {"image_size": 32}, "image_size 32 was given, but digits are 8x8"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_the_choices(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        sources.load(*arguments, **options)


def test_a_data_set_that_is_not_prepared_says_where_and_how(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        sources.load("LSUN", "train", str(tmp_path), category="tower")
    assert f"no copy of lsun/tower prepared as array_record was found in {tmp_path};" in str(error.value)
    assert f"`tfds build lsun/tower --file_format array_record --data_dir {tmp_path}`" in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"prepares it; or give its own archive: .*dataset=cifar10:PATH"):
        sources.load("CIFAR10", "train", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="set data_dir to where the images are"):
        sources.load("FFHQ", "train", str(tmp_path))


def test_arrays_of_another_type_are_refused():
    with pytest.raises(ValueError, match="float64 \\(3, 2, 2, 1\\) were given"):
        sources.from_arrays("floats", np.zeros((3, 2, 2, 1)))
