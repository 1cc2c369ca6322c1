"""Files that are complete or absent, and text that others have written to."""

import errno
import fcntl
import os
import pathlib
import shutil

import numpy as np
import pytest

from core import files
from core.errors import DamagedFileError, DiskError, ExitCode, RunError
from core.files import (
    append_json_line,
    is_locked,
    json_lines,
    read_json,
    remove_stale,
    temporary_file,
    temporary_folder,
    write_arrays,
    write_json,
    write_text,
)

NUMBERS = ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ENOTDIR", "EISDIR", "ESTALE"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("moment", ["open", "fsync", "replace"])
def test_a_file_that_cannot_be_written_is_one_sentence_and_the_old_one_stays(tmp_path, monkeypatch, number, moment):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def refuse(*args, **kwargs):
        raise OSError(getattr(errno, number), "as the system says")

    monkeypatch.setattr(files.os, moment, refuse)
    with pytest.raises(RunError, match=rf"^{path} cannot be written \(.*\); what is finished is kept: .*\.$") as error:
        write_json(path, {"a": 2})
    monkeypatch.undo()
    assert error.value.exit_code == ExitCode.RUN_ERROR and os.strerror(getattr(errno, number)) in str(error.value)
    assert isinstance(error.value, OSError) and error.value.errno == getattr(errno, number)
    assert read_json(path) == {"a": 1} and [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_file_where_a_folder_is_expected_and_the_reverse_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.json", tmp_path / "file" / "b" / "a.json", tmp_path / "folder"):
        with pytest.raises(DiskError, match=rf"^{path} cannot be written \("):
            write_text(path, "x")
    with pytest.raises(DamagedFileError, match=rf"^{tmp_path}/folder cannot be read \(Is a directory\); "):
        read_json(tmp_path / "folder")


def test_a_pipe_and_a_sparse_terabyte_are_not_read_as_json(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedFileError, match=rf"^{tmp_path}/pipe cannot be read \(it is a pipe, .* not a file\)"):
        read_json(tmp_path / "pipe")
    write_text(tmp_path / "large", "{}")
    os.truncate(tmp_path / "large", 2**40)
    with pytest.raises(DamagedFileError, match=rf"^{tmp_path}/large is damaged: it has 1,099,511,627,776 bytes"):
        read_json(tmp_path / "large")


def test_a_folder_that_is_removed_under_a_writer_is_one_sentence(tmp_path):
    def write(file):
        shutil.rmtree(tmp_path / "run")

    with pytest.raises(DiskError, match=r"^.*/run/a cannot be written \(No such file or directory"):
        files.write_atomically(tmp_path / "run" / "a", write)


def test_what_a_paused_writer_writes_survives_that_its_file_is_removed(tmp_path):
    def write(file):
        file.write(b"first")
        file.flush()
        for path in tmp_path.glob(".*.tmp"):
            path.unlink()
        file.write(b" second")

    files.write_atomically(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == b"first second" and len(list(tmp_path.iterdir())) == 1


def test_without_locks_a_file_that_others_remove_again_and_again_is_still_written(tmp_path, monkeypatch):
    """As by several workers of an evaluation that end at the same time, on a file system without locks."""
    publish, removed = os.replace, []

    def after_a_removal(source, target):
        if len(removed) < 3:
            removed.append(source)
            pathlib.Path(source).unlink()
        publish(source, target)

    monkeypatch.setattr(files.os, "replace", after_a_removal)
    write_text(tmp_path / "a", "whole")
    assert (tmp_path / "a").read_text() == "whole" and len(list(tmp_path.iterdir())) == 1 and len(set(removed)) == 3


def test_what_is_written_is_found_by_its_descriptor_and_not_by_a_name_that_is_gone(tmp_path):
    """A file that is removed before its first byte must not become an empty one."""
    opened = os.open

    def removed_at_once(path, flags, *args, **kwargs):
        descriptor = opened(path, flags, *args, **kwargs)
        if flags & os.O_EXCL:
            pathlib.Path(path).unlink()
        return descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "open", removed_at_once)
        write_text(tmp_path / "a", "whole")
    assert (tmp_path / "a").read_text() == "whole" and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_being_written_is_never_stale_and_one_that_was_left_is(tmp_path):
    """An hour old by the clock of another machine, or written while its clock was a day ahead."""
    left = tmp_path / ".b.0.tmp"
    with temporary_file(tmp_path / "a") as temporary, temporary_folder(tmp_path / "c") as folder:
        left.write_text("left by a kill")
        temporary.write_text("whole")
        for path in (temporary, folder, left):
            os.utime(path, (1e9, 1e9))
        remove_stale(tmp_path)
        assert temporary.exists() and folder.is_dir() and not left.exists()
    left.write_text("from the future")
    os.utime(left, (9e9, 9e9))
    remove_stale(tmp_path, age=0.0)
    assert (tmp_path / "a").read_text() == "whole" and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch):
    def no_locks(*args):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_arrays(tmp_path / "a.npz", {"a": np.arange(3)})
    assert not is_locked(tmp_path / "a.npz") and not is_locked(tmp_path / "gone")
    remove_stale(tmp_path)


NESTED, LONG = (b"[" * 100_000, b'{"a": ' * 100_000), b'{"a": ' + b"9" * 10_000 + b"}"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"a": ', b"[1]", b"null", *NESTED, LONG, b'{"a": "\xff"}'])
def test_a_json_file_of_other_contents_is_one_sentence_that_names_it(tmp_path, content):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"^{path} is damaged: it holds no JSON object; restore .*\.$"):
        read_json(path)
    with pytest.raises(ValueError, match="is damaged"):
        read_json(path)


def test_lines_that_are_no_objects_are_skipped_and_one_that_was_cut_off_spoils_no_other(tmp_path):
    path = pathlib.Path(tmp_path / "ended.jsonl")
    append_json_line(path, {"code": 1})
    with path.open("ab") as file:
        file.write(b'\xff\n[2]\n\n{"code": 3, "pro')
    append_json_line(path, {"code": 4})
    assert list(json_lines(path.read_bytes())) == [{"code": 1}, {"code": 4}]
