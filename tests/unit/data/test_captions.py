"""Texts as tokens: the words of the digits, and captions of a user's own images."""

import numpy as np
import pytest

from data import stock
from data.fields import Field
from data.sets import digits, digits_words
from data.vocabulary import Vocabulary, text_field
from tests.support.own_data import PIXELS, everything, opened, save, zipped

TEXTS = [f"a {'red' if k % 2 else 'blue'} thing, no. {k}" for k in range(12)]
BYTES = Vocabulary()


def test_the_words_of_a_digit_are_its_class_its_parity_and_the_weight_of_its_strokes():
    source = stock.load("digits_words", "test")
    batch, field = everything(source), source.fields["text"]
    texts = [Vocabulary.of(field).decode(tokens).split() for tokens in batch["text"]]
    assert [digits_words.CLASSES.index(words[0]) for words in texts] == batch["label"].tolist()
    assert all((words[1] == "odd") == label % 2 for words, label in zip(texts, batch["label"], strict=True))
    np.testing.assert_array_equal(batch["x"], everything(digits.source("test"))["x"])
    assert (field.num_levels, field.shape, source.class_names[7]) == (15, (3,), "seven")
    # "thick" is what the pixels say, of half of the training images.
    train = everything(stock.load("digits_words", "train"))
    thick = train["text"][:, 2] == 14
    assert 0.48 < thick.mean() < 0.5
    width = digits_words.stroke_width(train["x"])
    assert width[~thick].max() <= digits_words.typical_width() < width[thick].min()


def test_the_width_of_a_bar_is_measured():
    bar = np.zeros((3, 8, 8, 1), np.uint8)
    for k, width in enumerate((1, 2, 3)):
        bar[k, 1:7, 2 : 2 + width] = 16
    # 2 area / outline of a bar of length 6: 2 w 6 / (2 w + 12)
    np.testing.assert_allclose(digits_words.stroke_width(bar), [12 / 14, 24 / 16, 36 / 18])


def test_texts_come_back_from_their_tokens():
    words = Vocabulary(("two", "three"))
    assert words.encode("three two", 4).tolist() == [2, 1, 0, 0] and words.decode([2, 1, 0, 0]) == "three two"
    text = "a naïve 猫"
    assert BYTES.decode(BYTES.encode(text, 20)) == text and BYTES.num_tokens == 256
    assert BYTES.decode([0xE7, 0x8C, 0]) == "�"  # half a letter, as a model may write


@pytest.mark.parametrize(
    ("vocabulary", "text", "expected"),
    [
        (Vocabulary(("two", "three")), "two tree", r"the text has the word 'tree', .* \(nearest: three\)"),
        (BYTES, "a\0b", "has the byte 0 at position 1, which is not in the vocabulary"),
        (BYTES, "abcdef", "has 6 bytes, but 1 to 5 are expected"),
        (BYTES, "ééé", "has 6 bytes, but 1 to 5 are expected"),
        (Vocabulary(("two", "three")), " ", "has 0 words, but 1 to 5 are expected"),
    ],
)
def test_texts_beyond_the_vocabulary_are_refused(vocabulary, text, expected):
    with pytest.raises(ValueError, match=expected):
        vocabulary.encode(text, 5)


def test_data_without_texts_are_named():
    with pytest.raises(ValueError, match=r"digits has no texts: its fields are x, label; use data with a field 'text'"):
        text_field(digits.source("test").fields, "digits")
    with pytest.raises(ValueError, match="has no texts"):
        text_field({"text": Field((), "int32", num_classes=3)}, "mine")


def captioned(folder, kind):
    """Twelve images, with a table of their captions or a file beside each."""
    for k, pixels in enumerate(PIXELS):
        save(folder / "ab"[k % 2] / f"{k:02d}.png", pixels)
        if kind == "files":
            (folder / "ab"[k % 2] / f"{k:02d}.TXT").write_text(TEXTS[k] + "\n", encoding="utf-8-sig")
    if kind == "table":
        lines = [f'{"ab"[k % 2]}/{k:02d}.png,"{text}"' for k, text in enumerate(TEXTS)]
        (folder / "captions.csv").write_text("\n".join(["file_name,text", *lines]) + "\n")
    return folder


@pytest.mark.parametrize("kind", ["table", "files"])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_captions_of_a_folder_are_bytes_of_one_length_in_both_splits(tmp_path, kind, form):
    path = captioned(tmp_path / "own", kind)
    path = path if form == "folder" else zipped(path)
    sources = [opened(f"{form}:{path}", split, test_every=4) for split in ("train", "test")]
    assert sources[0].fields == sources[1].fields and sources[0].class_names == ("a", "b")
    assert sources[0].fields["text"].shape == (max(map(len, TEXTS)),)
    for source in sources:
        batch = everything(source)
        for x, tokens in zip(batch["x"], batch["text"], strict=True):
            k = int(np.argmax((x == PIXELS).all(axis=(1, 2, 3))))
            assert BYTES.decode(tokens) == TEXTS[k]
    assert opened(f"{form}:{path}", text_length=40).fields["text"].shape == (40,)


def edited(folder, kind, change):
    """The folder with something wrong about it."""
    table, file = folder / "captions.csv", folder / "a" / "02.TXT"
    text = table.read_text() if kind == "table" else file.read_text(encoding="utf-8-sig")
    for_bytes = table if kind == "table" else file
    {
        "missing": lambda: table.write_text(text.replace(f'a/02.png,"{TEXTS[2]}"\n', "")) if kind == "table" else
        file.unlink(),
        "empty": lambda: table.write_text(text.replace(TEXTS[2], " ")) if kind == "table" else file.write_text(" \n"),
        "latin": lambda: for_bytes.write_bytes(text.encode() + "é".encode("latin-1")),
        "zero": lambda: for_bytes.write_text(text.replace(TEXTS[2], "a\0b")),
        "again": lambda: table.write_text(text + f'a/02.png,"{TEXTS[2]}"\n'),
        "unknown": lambda: table.write_text(text + "a/99.png,none\n"),
        "cells": lambda: table.write_text(text + "a/02.png,one,two\n"),
        "columns": lambda: table.write_text(text.replace("file_name,text", "file,text")),
        "both": lambda: (folder / "a" / "02.txt").write_text("a thing"),
        "stray": lambda: (folder / "a" / "notes.txt").write_text("of no image"),
    }[change]()  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("table", "missing", r"02.png has no caption; add a line in captions.csv with a text"),
        ("files", "missing", r"02.png has no caption; add a file 02.txt with a text"),
        ("table", "empty", r"02.png has no caption"),
        ("files", "empty", r"02.png has no caption"),
        (
            "table",
            "latin",
            r"captions.csv has bytes that are not UTF-8 \(byte \d+\), so that they are outside of the voc",
        ),
        ("files", "latin", r"02.TXT has bytes that are not UTF-8"),
        ("table", "zero", r"the caption of .*02.png has the byte 0 at position 1, which is not in the vocabulary"),
        ("files", "zero", r"the caption of .*02.png has the byte 0"),
        ("table", "again", "line 14 of .*captions.csv has the image a/02.png again"),
        ("table", "unknown", "line 14 of .*captions.csv has a/99.png, which is no image here"),
        ("table", "cells", "line 14 of .*captions.csv has not 2 cells; write texts with commas in quotes"),
        ("table", "columns", "captions.csv has the columns file, text, but file_name and text are expected"),
        ("table", "both", "has both captions.csv and a/02.txt; keep one kind of captions"),
        ("files", "stray", r"notes.txt is not an image"),
    ],
)
def test_what_is_wrong_about_captions_is_said_in_a_sentence(tmp_path, kind, change, expected):
    folder = captioned(tmp_path / "own", kind)
    edited(folder, kind, change)
    with pytest.raises(ValueError, match=expected):
        opened(f"folder:{folder}")


def test_captions_that_are_longer_than_the_config_says_are_named(tmp_path):
    folder = captioned(tmp_path / "own", "table")
    with pytest.raises(ValueError, match=r"is longer than config.data.text_length = 17 bytes; shorten it, or set 20"):
        opened(f"folder:{folder}", text_length=17)
