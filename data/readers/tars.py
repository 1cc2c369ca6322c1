"""WebDataset: `wds:PATH`, a tar file, a folder of them, or a pattern such as `train-{000..003}.tar`.

Files of one name up to its first dot are an example: `0001.jpg` is its image, `0001.cls` its class, and numbers and few
different texts in `0001.json` and `0001.txt` are fields. Others are left out, and nothing is unpacked or executed.

Source: the format of https://github.com/webdataset/webdataset
"""

import dataclasses
import functools
import io
import itertools
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from core.files import MAX_JSON, size_of
from core.reading import UnreadableError, read_part, reading, tar_members
from data.images import SUFFIXES
from data.notices import some_of, warn_once
from data.readers.image_files import image_source
from data.readers.metadata import parsed
from data.readers.shards import Examples, index_of, origin_of
from data.source import Reading, Source

IMAGES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
TEXTS = {"cls": "label", "txt": "txt", "text": "text"}  # endings of texts, and the fields that they are
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


class Member(NamedTuple):
    """Where a file in an archive begins, and its size."""

    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class Tars:
    """The files in the archives of a folder, as ARCHIVE/NAME; each process opens them for itself."""

    root: pathlib.Path

    def open(self, name: str) -> BinaryIO:
        """A file, opened for reading. Errors: OSError."""
        archive, _, inside = name.partition(".tar/")
        path = self.root / f"{archive}.tar"
        member = _members(path, path.stat().st_mtime_ns)[inside]
        with path.open("rb") as raw:
            try:
                return io.BytesIO(read_part(raw, member.offset, member.size))
            except UnreadableError as error:
                raise OSError(str(error)) from error


def open_wds(given: str, split: str, reading: Reading) -> Source:
    """The split of a WebDataset. Errors: FileNotFoundError, ValueError that name the file."""
    paths = _archives(given)
    root = paths[0].parent if len({path.parent for path in paths}) == 1 else pathlib.Path(given)
    files, origin = Tars(root), origin_of(paths)
    examples = _examples(files, tuple(paths), origin)
    index = index_of(files, examples, lambda row: str(root / examples.names[row]), origin, split, reading)
    return image_source(f"wds:{given}", files, index, origin, split, reading)


def expand(pattern: str) -> list[str]:
    """The texts that a pattern with `{000..003}` or `{a,b}` stands for."""
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last, listed = found.groups()
    if listed is not None:
        values = listed.split(",")
    else:
        values = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    parts = (expand(pattern[: found.start()] + value + pattern[found.end() :]) for value in values)
    return list(dict.fromkeys(itertools.chain.from_iterable(parts)))


def _archives(given: str) -> list[pathlib.Path]:
    """The archives in order. Errors: FileNotFoundError for one that is missing."""
    path = pathlib.Path(given)
    if path.is_dir():
        inside = (found for found in path.rglob("*.tar") if not found.name.startswith("."))
        paths = sorted(found for found in inside if found.is_file())
        if not paths:
            raise FileNotFoundError(f"{path} has no .tar file; give the folder of the shards, decompressed.")
        return paths
    paths = [path] if path.exists() else [pathlib.Path(text) for text in expand(given)]
    for found in paths:
        if not found.is_file() or found.suffix != ".tar":
            raise FileNotFoundError(
                f"{found} is not a .tar file that exists; give one, their folder, or a pattern such as "
                "wds:PATH/train-{000..003}.tar."
            )
    if not paths:
        raise FileNotFoundError(f"wds:{given} stands for no file; give the smaller number first.")
    return paths


@functools.lru_cache(maxsize=256)
def _members(path: pathlib.Path, mtime_ns: int) -> Mapping[str, Member]:
    """The files in an archive by name, in order. Errors: ValueError for one that cannot be read."""
    del mtime_ns  # so that a changed archive is read again
    try:
        with path.open("rb") as raw:
            found = tar_members(raw, size_of(path))
            return {m.name.removeprefix("./"): Member(m.offset_data, m.size) for m in found}
    except (UnreadableError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as a tar archive ({error}); decompress it, or write it anew."
        ) from error


@functools.lru_cache(maxsize=2)  # both splits are in the same archives
def _examples(files: Tars, paths: tuple[pathlib.Path, ...], origin: tuple) -> Examples:
    """Errors: ValueError for an example without an image, or with two, and for texts that cannot be read."""
    del origin
    names, shards, rows, left_out = list[str](), list[str](), list[dict[str, str]](), set[str]()
    for path in paths:
        shard = path.relative_to(files.root).as_posix()
        for key, endings in _grouped(_members(path, path.stat().st_mtime_ns)):
            found = [ending for ending in endings if ending in IMAGES]
            if len(found) != 1:
                raise ValueError(
                    f"{path} has {len(found) or 'no'} images for the example {key} ({', '.join(endings)}), but one of "
                    f"{', '.join(IMAGES)} is expected; write it anew."
                )
            names.append(f"{shard}/{key}.{endings[found[0]]}")
            shards.append(shard)
            texts = {ending: f"{shard}/{key}.{endings[ending]}" for ending in (*TEXTS, "json") if ending in endings}
            rows.append(_cells(files, texts))
            left_out |= endings.keys() - {*IMAGES, *TEXTS, "json"}
    if not names:
        raise ValueError(f"{files.root} has no examples in {len(paths)} archive(s); give others.")
    if left_out:
        warn_once(f"files of {files.root} that end with {some_of(sorted(left_out))} are left out")
    columns = dict.fromkeys(name for row in rows for name in row)
    partial = [name for name in columns if not all(name in row for row in rows)]
    if partial:
        warn_once(f"{some_of(partial)} of {files.root} are left out: not every example has them")
    whole = {name: parsed([row[name].strip() for row in rows]) for name in columns if name not in partial}
    return Examples(tuple(names), tuple(shards), whole)


def _grouped(members: Mapping[str, Member]) -> Iterator[tuple[str, dict[str, str]]]:
    """(name up to the first dot, {ending in lower case: ending}) of the examples of an archive."""

    def key(name: str) -> str:
        folder, slash, last = name.rpartition("/")
        return folder + slash + last.partition(".")[0]

    shown = (name for name in members if not any(part.startswith(".") for part in name.split("/")))
    for start, group in itertools.groupby(shown, key):
        endings = [name.removeprefix(f"{start}.") for name in group]
        yield start, {ending.lower(): ending for ending in endings}


def _cells(files: Tars, texts: Mapping[str, str]) -> dict[str, str]:
    """The texts of an example by column. Errors: ValueError that names the file."""
    cells = dict[str, str]()
    for ending, name in texts.items():
        try:
            with files.open(name) as raw, reading():
                content = raw.read(MAX_JSON + 1)
                if len(content) > MAX_JSON:
                    raise UnreadableError(f"it has more than {MAX_JSON:,} bytes")
                text = content.decode("utf-8")
                found: Any = json.loads(text) if ending == "json" else {TEXTS[ending]: text}
        except (UnreadableError, OSError) as error:
            raise ValueError(f"{files.root / name} cannot be read ({error}); write it anew.") from error
        if isinstance(found, dict):
            scalars = {key: value for key, value in found.items() if isinstance(value, str | int | float)}
            cells |= {key: str(int(v)) if isinstance(v, bool) else str(v) for key, v in scalars.items()}
    return cells
