"""The published TFRecord files: written here byte by byte, read back by number."""

import struct

import numpy as np
import pytest

from data import published, stock


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def example(image, packed=True):
    """A tf.train.Example of an image [H, W, C], stored as [C, H, W]."""
    planes = image.transpose(2, 0, 1)
    shape = [varint(side) for side in planes.shape]
    int64s = field(1, b"".join(shape)) if packed else b"".join(varint(1 << 3) + side for side in shape)
    features = {"shape": field(3, int64s), "data": field(1, field(1, planes.tobytes()))}
    entries = [field(1, field(1, key.encode()) + field(2, value)) for key, value in features.items()]
    return field(1, b"".join(entries))


def write(path, payloads):
    with path.open("wb") as file:
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            for part in (length, payload):
                file.write(part + struct.pack("<I", published.masked_crc32c(part)))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    write(tmp_path / "faces-r03.tfrecords", [example(image[::2, ::2]) for image in images])
    write(tmp_path / "faces-r04.tfrecords", [example(image, packed=i % 2 == 0) for i, image in enumerate(images)])
    return tmp_path


def test_the_checksum_is_the_castagnoli_one():
    """RFC 3720, B.4: 32 zero bytes have the CRC 0x8a9136aa; the mask is undone first."""
    unmasked = (published.masked_crc32c(bytes(32)) - 0xA282EAD8) & 0xFFFFFFFF
    assert (unmasked << 15 | unmasked >> 17) & 0xFFFFFFFF == 0x8A9136AA


@pytest.mark.parametrize("dataset", ["CelebAHQ", "FFHQ"])
def test_the_file_of_the_wanted_size_is_read_by_number(folder, images, dataset):
    source = stock.load(dataset, "train", str(folder), 16)
    assert (len(source), source.shape, source.num_levels, source.num_classes) == (5, (16, 16, 3), 256, 0)
    batch = source.fetch(np.array([4, 0, 4]))
    np.testing.assert_array_equal(batch["x"], images[[4, 0, 4]])
    assert batch["label"].tolist() == [0, 0, 0] and batch["label"].dtype == np.int32
    half = stock.load(dataset, "train", str(folder), 8).fetch(np.array([3]))["x"][0]
    np.testing.assert_array_equal(half, images[3, ::2, ::2])


def test_a_file_that_is_named_itself_is_resized(folder):
    source = stock.load("FFHQ", "train", str(folder / "faces-r04.tfrecords"), 4)
    assert source.fetch(np.arange(5))["x"].shape == (5, 4, 4, 3)


@pytest.mark.parametrize("size", [32, 12])
def test_a_size_without_a_file_is_an_error_that_names_the_others(folder, size):
    with pytest.raises(FileNotFoundError, match=f"0 files for images of {size} pixels .*faces-r03.tfrecords, faces-r0"):
        stock.load("FFHQ", "train", str(folder), size)


def test_an_image_folder_beside_it_needs_no_tfrecords(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .png or .jpg file was found"):
        stock.load("FFHQ", "train", str(tmp_path), 8)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-7], "is cut off in its last record"),
        (lambda content: content + content[:5], "is cut off at byte"),
        (lambda content: b"\x01" + content[1:], "is not a TFRecord file, or is damaged at byte 0"),
        (lambda content: b"", "is empty"),
    ],
)
def test_a_damaged_file_is_refused_when_it_is_opened(folder, damage, message):
    path = folder / "faces-r03.tfrecords"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        stock.load("FFHQ", "train", str(folder), 8)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("payload", [b"", b"\x0a\xff\x01", b"\x0b", field(1, field(1, field(1, b"shape")))])
def test_a_record_that_is_no_image_is_named(tmp_path, payload):
    write(tmp_path / "faces-r03.tfrecords", [payload])
    source = stock.load("FFHQ", "train", str(tmp_path), 8)
    with pytest.raises(ValueError, match="record 0 of .*faces-r03.tfrecords is not an image"):
        source.fetch(np.array([0]))


def test_bytes_that_do_not_fill_the_shape_are_refused(images):
    with pytest.raises(ValueError, match=r"768 bytes of data do not have the shape \[3, 8, 16\]"):
        published.parse_image(example(images[0]).replace(field(1, bytes([3, 16, 16])), field(1, bytes([3, 8, 16]))))
