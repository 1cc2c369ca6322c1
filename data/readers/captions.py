"""Texts beside images: a table captions.csv with the columns file_name and text, or a file NAME.txt for each image.

file_name is relative to the folder of the table. The tokens of a text are its bytes. Every image needs a text.
"""

import csv
import io
import posixpath
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from data.notices import short
from data.readers.containers import Container, Entry
from data.readers.metadata import Metadata
from data.vocabulary import TEXT, Vocabulary

TABLE, KEY, ENDING = "captions.csv", "file_name", ".txt"
BYTES = Vocabulary()


def captions_among(names: Sequence[str], images: Sequence[str]) -> list[str]:
    """The files that have the texts of images: tables, and files of one of these `images` each."""
    stems = {posixpath.splitext(image)[0] for image in images}

    def is_text(name: str) -> bool:
        stem, ending = posixpath.splitext(name)
        return posixpath.basename(name).lower() == TABLE or (ending.lower() == ENDING and stem in stems)

    return [name for name in names if is_text(name)]


def read_captions(files: Container, entries: Sequence[Entry], images: Sequence[str], length: int | None) -> Metadata:
    """The tokens of the text of each image; no field where there are no texts.

    length: tokens of a text; None: those of the longest. Errors: ValueError, one sentence, for an image without a text,
    and for a text that is empty, longer, or has bytes that are not in the vocabulary.
    """
    found = captions_among([entry.name for entry in entries], images)
    tables = [name for name in found if posixpath.basename(name).lower() == TABLE]
    if not found:
        return Metadata(images, {}, {})
    if tables and len(tables) < len(found):
        beside = next(name for name in found if name not in tables)
        raise ValueError(f"{files.root} has both {tables[0]} and {beside}; keep one kind of captions.")
    of_image = _of_tables(files, tables, set(images)) if tables else _of_files(files, found)
    for name in images:
        if not of_image.get(name if tables else posixpath.splitext(name)[0], "").strip():
            where = f"a line in {TABLE}" if tables else f"a file {posixpath.splitext(posixpath.basename(name))[0]}.txt"
            raise ValueError(f"{files.root / name} has no caption; add {where} with a text, or remove the image.")
    texts = [of_image[name if tables else posixpath.splitext(name)[0]].strip() for name in images]
    places = [f"the caption of {files.root / name}" for name in images]
    longest = max(len(BYTES.tokens(text, place)) for text, place in zip(texts, places, strict=True))
    if length is not None and longest > length:
        place = next(place for text, place in zip(texts, places, strict=True) if len(text.encode()) > length)
        raise ValueError(
            f"{place} is longer than config.data.text_length = {length} bytes; shorten it, or set {longest}."
        )
    field = BYTES.field(length or longest)
    tokens = [BYTES.encode(text, length or longest, place) for text, place in zip(texts, places, strict=True)]
    return Metadata(images, {TEXT: field}, {TEXT: np.array(tokens, field.dtype)})


def _of_files(files: Container, names: Sequence[str]) -> Mapping[str, str]:
    """The texts of files, by their names without the ending."""
    return {posixpath.splitext(name)[0]: _read(files, name) for name in names}


def _of_tables(files: Container, tables: Sequence[str], images: Collection[str]) -> Mapping[str, str]:
    """The texts of tables, by image. Errors: ValueError that names the table and the line."""
    found: dict[str, str] = {}
    for table in tables:
        path = files.root / table
        reader = csv.DictReader(io.StringIO(_read(files, table), newline=""), strict=True)
        try:
            lines = list(reader)
        except csv.Error as error:
            raise ValueError(f"{path} cannot be read as a table ({error}); save it as CSV in UTF-8.") from error
        if set(reader.fieldnames or ()) != {KEY, TEXT}:
            raise ValueError(
                f"{path} has the columns {', '.join(reader.fieldnames or ()) or '(none)'}, but {KEY} and {TEXT} are "
                "expected; correct its first line."
            )
        for number, line in enumerate(lines, start=2):
            if None in line or None in line.values():
                raise ValueError(f"line {number} of {path} has not 2 cells; write texts with commas in quotes.")
            name = posixpath.normpath(posixpath.join(posixpath.dirname(table), line[KEY]))
            if name not in images or name in found:
                wrong = f"the image {name} again" if name in found else f"{short(name)}, which is no image here"
                raise ValueError(f"line {number} of {path} has {wrong}; correct the table.")
            found[name] = line[TEXT]
    return found


def _read(files: Container, name: str) -> str:
    """A text file. Errors: ValueError for one that is not UTF-8."""
    try:
        with files.open(name) as raw:
            return raw.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{files.root / name} has bytes that are not UTF-8 (byte {error.start}), so that they are outside of the "
            "vocabulary; save it as UTF-8."
        ) from error
    except OSError as error:
        raise ValueError(f"{files.root / name} cannot be read ({error}); replace it.") from error
