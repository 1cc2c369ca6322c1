"""Only the decoders of PNG, JPEG and WebP ever see a file, wherever images are read, and no image is too large."""

import ast
import io
import os
import pickle
import resource
import struct
import tarfile
import time
import zlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from data import decoders, images, stock
from data.readers.inputs import read_examples, read_mask
from data.readers.prepared import Picture, Undecoded, decoders_of
from data.readers.samples import describe, read_batches
from tests.support.own_data import PIXELS, everything, opened, save, zipped
from tests.support.paths import ROOT

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 4 6
(marker) (w) file closefile
showpage
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs that images may start leave a file; returns whether there is one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gs", "gswin64c", "djpeg", "convert", "ffmpeg"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for again
    return lambda: (tmp_path / "started").exists()


def tarred(folder):
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return path


def picture(content, shape=(6, 4, 3), dtype=np.uint8, **limits):
    decoder = Picture("tfds:some", **({"max_pixels": 1000} | limits))
    decoder.setup(feature=tfds.features.Image(shape=shape, dtype=dtype))
    return decoder.decode_example_np(content)


def test_pillow_itself_would_start_a_program(programs):
    with pytest.raises(Exception):  # noqa: B017  the program writes no image
        Image.open(io.BytesIO(POSTSCRIPT)).load()
    assert programs()


READERS = {
    "folder": lambda folder: everything(opened(f"folder:{folder}", test_every=0)),
    "zip": lambda folder: everything(opened(f"zip:{zipped(folder)}")),
    "wds": lambda folder: everything(opened(f"wds:{tarred(folder)}")),
    "published folder": lambda folder: everything(stock.load("folder", "train", str(folder), 4)),
    "input": lambda folder: read_examples(folder / "a.png", (6, 4, 3), 256),
    "mask": lambda folder: read_mask(folder / "a.png", (6, 4, 3)),
    "samples": lambda folder: next(read_batches(folder, 4)),
    "headers of samples": describe,
    "tfds": lambda folder: picture((folder / "a.png").read_bytes()),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_file_in_another_format_starts_nothing_and_is_refused(reader, programs, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "a.png").write_bytes(POSTSCRIPT)
    for content in [POSTSCRIPT, *others()]:
        (folder / "a.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"(a.png|tfds:some) .*\(?it is no PNG, JPEG or WebP image\)?") as caught:
            READERS[reader](folder)
        assert "\n" not in str(caught.value)
    assert not programs()


def others():
    """One image in every other format that Pillow writes."""
    Image.init()
    known = {"BMP", "GIF", "TIFF", "PPM", "ICO", "TGA", "PCX", "JPEG2000", "ICNS", "EPS", "SGI", "DDS", "PDF"}
    for form in sorted(known & Image.SAVE.keys()):
        buffer = io.BytesIO()
        Image.fromarray(PIXELS[0]).resize((16, 16)).save(buffer, form)
        yield buffer.getvalue()


def test_the_files_of_every_format_that_is_read_are_read_under_any_name(tmp_path):
    for form, suffix in (("PNG", "jpg"), ("JPEG", "png"), ("WEBP", "png")):
        save(tmp_path / f"{form}.{suffix}", PIXELS[0], format=form)
    assert len(next(read_batches(tmp_path, 4))) == 3
    assert describe(tmp_path) == (3, (6, 4, 3))


@pytest.mark.parametrize("reader", READERS)
def test_an_image_that_is_too_large_is_refused_with_its_size_and_what_to_set(reader, tmp_path):
    folder = tmp_path / "own"
    save(folder / "a.png", np.zeros((1, 1, 3), np.uint8))
    (folder / "a.png").write_bytes(with_size((folder / "a.png").read_bytes(), 30_000, 20_000))
    with pytest.raises(ValueError, match=r"it has 30000x20000 pixels, more than config.data.max_pixels = \d+"):
        READERS[reader](folder)


def test_images_that_take_twice_the_memory_count_twice(tmp_path):
    save(tmp_path / "a.webp", np.zeros((20, 10, 3), np.uint8))
    save(tmp_path / "b.png", np.zeros((20, 10), np.uint16))
    for name, channels in (("a.webp", 3), ("b.png", 1)):
        with pytest.raises(ValueError, match=rf"{name} .*max_pixels = 399, where those of WebP and of 16 bits count"):
            read_examples(tmp_path / name, (20, 10, channels), 256, max_pixels=399)
        assert read_examples(tmp_path / name, (20, 10, channels), 256, max_pixels=400)[1].shape == (1, 20, 10, channels)


def test_the_limit_can_be_raised_also_above_that_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    save(tmp_path / "a.png", np.zeros((20, 10, 3), np.uint8))
    with pytest.raises(ValueError, match="10x20 pixels, more than config.data.max_pixels = 199"):
        opened(f"folder:{tmp_path}", max_pixels=199)
    assert Image.MAX_IMAGE_PIXELS == 40
    for rule in ("crop", "stretch"):
        source = opened(f"folder:{tmp_path}", max_pixels=200, test_every=0, resize=rule, image_size=8)
        assert everything(source)["x"].shape == (1, 8, 8, 3)


def chunks(content):
    """(name, data) of the chunks of a PNG."""
    position = 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        yield content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        position += 12 + length


def png(parts):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def with_size(content, width, height):
    return png([(n, struct.pack(">II", width, height) + d[8:] if n == b"IHDR" else d) for n, d in chunks(content)])


BOMB = zlib.compress(bytes(50 * 2**20))
TEXTS = {
    "zTXt": (b"zTXt", b"a\0\0" + BOMB),
    "iTXt": (b"iTXt", b"a\0\1\0\0\0" + BOMB),
    "iCCP": (b"iCCP", b"a\0\0" + BOMB),
    "many": (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20))),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_a_bomb_of_text_is_named_with_its_file_or_left_out(kind, is_first, tmp_path):
    save(tmp_path / "a.png", PIXELS[0])
    parts = list(chunks((tmp_path / "a.png").read_bytes()))
    place = 1 if is_first else len(parts) - 1
    parts[place:place] = [TEXTS[kind]] * (100 if kind == "many" else 1)
    (tmp_path / "a.png").write_bytes(png(parts))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for reader in ("folder", "input", "samples"):
        with pytest.raises(ValueError, match="a.png .*(too large|Too much)"):
            READERS[reader](tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded(tmp_path):
    save(tmp_path / "a.jpg", np.zeros((2000, 2000, 3), np.uint8), progressive=True)
    content = (tmp_path / "a.jpg").read_bytes()
    last = content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:last] + content[last:-2] * 5000 + content[-2:])
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"a.jpg is damaged \(it is a JPEG of \d+ scans, more than 100\)"):
        next(read_batches(tmp_path, 1))
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", [0, 1, 3, 6, 9, 2**16 - 1])
def test_the_orientation_is_read_from_exif_of_either_order(order, orientation, tmp_path):
    exif = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IHHHII", 8, 2, 0x0100, 4, 1, 7)
    exif += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)
    save(tmp_path / "a.png", PIXELS[0], exif=exif)
    with (tmp_path / "a.png").open("rb") as raw:
        header = images.read_header(raw)
    assert header[:2] == ((4, 6) if orientation == 6 else (6, 4))


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40), b"XX"]
)
def test_damaged_exif_is_that_of_an_upright_photograph(exif, tmp_path):
    save(tmp_path / "a.png", PIXELS[0])
    parts = list(chunks((tmp_path / "a.png").read_bytes()))
    (tmp_path / "a.png").write_bytes(png([parts[0], (b"eXIf", exif), *parts[1:]]))
    np.testing.assert_array_equal(read_examples(tmp_path / "a.png", (6, 4, 3), 256)[1][0], PIXELS[0])


def test_exif_is_not_unpacked():
    """65,535 tags that each claim the same megabyte would take 64 GiB."""
    tags = b"".join(struct.pack("<HHII", 2**15 + k % 2**15, 1, 2**20, 0) for k in range(65_535))
    file = Image.new("L", (1, 1))
    file.info["exif"] = b"II*\0" + struct.pack("<IH", 8, 65_535) + tags + bytes(2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decoders.orientation(file) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_images_of_tfds_are_those_that_were_stored():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, "PNG")
    np.testing.assert_array_equal(picture(buffer.getvalue()), PIXELS[0])
    gray = io.BytesIO()
    Image.fromarray(PIXELS[0][..., 0]).save(gray, "PNG")
    np.testing.assert_array_equal(picture(gray.getvalue(), (6, 4, 1)), PIXELS[0][..., :1])
    np.testing.assert_array_equal(picture(gray.getvalue()), PIXELS[0][..., [0, 0, 0]])
    deep = io.BytesIO()
    values = PIXELS[0][..., 0].astype(np.uint16) * 200
    Image.fromarray(values).save(deep, "PNG")
    np.testing.assert_array_equal(picture(deep.getvalue(), (6, 4, 1), np.uint16)[..., 0], values)
    floats = np.arange(24, dtype=np.float32).reshape(6, 4, 1)
    stored = io.BytesIO()
    Image.fromarray(floats.view(np.uint8)).save(stored, "PNG")
    np.testing.assert_array_equal(picture(stored.getvalue(), (6, 4, 1), np.float32), floats)


def test_every_image_of_tfds_has_our_decoder_and_what_is_not_used_has_none():
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=3),
            "inside": {"mask": tfds.features.Image(shape=(4, 4, 1)), "number": tfds.features.Scalar(np.int64)},
            "several": tfds.features.Sequence(tfds.features.Image(shape=(4, 4, 1)), length=2),
            "text": tfds.features.Text(),
            "set": tfds.features.Dataset({"image": tfds.features.Image()}),
        }
    )
    found = decoders_of("tfds:some", features, 7)
    assert isinstance(found["image"], Picture) and found["image"].max_pixels == 7
    assert isinstance(found["inside"]["mask"], Picture) and found["inside"]["number"] is None
    assert isinstance(found["several"], Picture) and found["label"] is None
    assert isinstance(found["set"], Undecoded) and found["text"] is None


def test_records_of_tfds_are_decoded_by_ours_and_their_texts_stay(tmp_path):
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(6, 4, 3)),
            "label": tfds.features.ClassLabel(num_classes=3),
            "inside": {"text": tfds.features.Text()},
            "several": tfds.features.Sequence(tfds.features.Image(shape=(6, 4, 3)), length=2),
        }
    )
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, "PNG")
    for content in (buffer.getvalue(), POSTSCRIPT):
        example = tf_example_pb2.Example()
        stored = example.features.feature
        stored["image"].bytes_list.value.append(content)
        stored["label"].int64_list.value.append(2)
        stored["inside/text"].bytes_list.value.append(b"some")
        stored["several"].bytes_list.value.extend([content] * 2)
        decoders = pickle.loads(pickle.dumps(decoders_of("tfds:some", features, 100)))  # as another process has them
        if content == POSTSCRIPT:
            with pytest.raises(ValueError, match="tfds:some has an image that cannot be read .it is no PNG"):
                features.deserialize_example_np(example.SerializeToString(), decoders=decoders)
            continue
        record = features.deserialize_example_np(example.SerializeToString(), decoders=decoders)
        np.testing.assert_array_equal(record["image"], PIXELS[0])
        np.testing.assert_array_equal(record["several"], PIXELS[[0, 0]])
        assert record["label"] == 2 and record["inside"]["text"] == b"some"


@pytest.mark.parametrize("name", ["own", "mnist/own", "mnist"])
def test_features_of_tfds_that_are_python_of_others_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()")
    folder = tmp_path / "data" / name / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "features.json").write_text('{"featuresDict": {"features": {"x": {"pythonClassName": "foreign.Image"}}}}')
    with pytest.raises(ValueError, match="features.json names 'foreign.Image', which is not executed"):
        opened(f"tfds:{name}", data_dir=str(tmp_path / "data"))
    assert not (tmp_path / "executed").exists()


def test_pillow_opens_files_in_one_place():
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).parts
        if parts[0] in ("tests", "benchmarks", "docs", "notebooks") or any(part.startswith(".") for part in parts):
            continue
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "imread" in text or ".open" in text else ():
            is_open = isinstance(node, ast.Attribute) and node.attr in ("open", "imread")
            owner = node.value.id if is_open and isinstance(node.value, ast.Name) else ""
            assert owner not in ("Image", "plt", "image", "mpimg", "imageio", "cv2"), path
