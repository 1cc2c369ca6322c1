"""Where results go is tried before the work."""

import errno
import os
import pathlib

import pytest

from core.errors import DiskError
from core.outputs import check_file, check_folder


def test_trying_a_folder_leaves_nothing_behind(tmp_path):
    check_folder(tmp_path / "a" / "b", "--output=a/b")
    (tmp_path / "there").mkdir()
    check_folder(tmp_path / "there", "it")
    check_file(tmp_path / "there" / "x.npz", "it")
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and not list((tmp_path / "there").iterdir())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda base: base / "file" / "x", "Not a directory"),
        (lambda base: base / "file", "Not a directory"),
        (lambda base: base / ("n" * 300), "File name too long"),
        (lambda base: base / "loop" / "x", "Too many levels of symbolic links"),
        (lambda base: base / "nowhere" / "x", "No such file or directory"),
        (lambda base: pathlib.Path("/proc/nothing/x"), "No such file or directory"),
        (lambda base: base / "a\0b", "null"),
    ],
    ids=["below a file", "a file", "long", "a loop of links", "a link to nothing", "no real disk", "a null byte"],
)
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, make, reason):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    with pytest.raises(
        ValueError, match=f"^--output=X cannot be written to .*{reason}.*in which files can be made"
    ) as e:
        check_folder(make(tmp_path), "--output=X")
    assert "\n" not in str(e.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop", "nowhere"]


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match=r"/a/b cannot be written \(No space left on device\); .* free some space, and"):
        check_folder(tmp_path / "a" / "b", "--output=X")
    assert not list(tmp_path.iterdir())


def test_a_new_file_is_refused_where_there_is_one(tmp_path):
    (tmp_path / "there").write_text("")
    check_file(tmp_path / "there", "it")
    with pytest.raises(FileExistsError, match="there already exists; remove it, or give another name"):
        check_file(tmp_path / "there", "it", new=True)
    with pytest.raises(ValueError, match="^it cannot be written to .File name too long"):
        check_file(tmp_path / ("n" * 300), "it", new=True)


def test_the_name_of_a_file_is_no_folder(tmp_path):
    with pytest.raises(ValueError, match="--stats=X is a folder; give the name of a file"):
        check_file(tmp_path, "--stats=X")
