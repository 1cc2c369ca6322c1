"""The lock of a workdir."""

import errno
import os
import re
import shutil

import pytest

from core import files
from core.errors import RunError
from runtime.lock import workdir_lock


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_workdir_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, number):
    def refuse(*args, **kwargs):
        raise OSError(number, "as the system says")

    monkeypatch.setattr(files.os, "open", refuse)
    reason = {errno.EROFS: "Read-only file system", errno.EACCES: "Permission denied"}[number]
    message = f"The workdir {tmp_path} cannot be written ({reason}); make it writable, or give another --workdir."
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"), workdir_lock(tmp_path):
        pass


@pytest.mark.parametrize("how", ["removed", "replaced", "lock removed", "lock replaced"])
def test_a_workdir_that_was_removed_or_replaced_is_noticed(tmp_path, how):
    workdir = tmp_path / "run"
    with workdir_lock(workdir) as lock:
        lock.check()
        if how in ("removed", "replaced"):
            os.rename(workdir, tmp_path / "elsewhere")
        else:
            (workdir / "train.lock").unlink()
        if how.endswith("replaced"):
            with workdir_lock(workdir) as other:  # a second trainer is let in
                other.check()
        with pytest.raises(RunError, match=rf"^The workdir {workdir} was removed or replaced while .*\.$"):
            lock.check()
        if how == "removed":
            os.rename(tmp_path / "elsewhere", workdir)
            lock.check()
    shutil.rmtree(workdir)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_noticed_when_the_workdir_is_locked(tmp_path, monkeypatch, number):
    def full(*args):
        raise OSError(number, "as the system says")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(RunError, match=rf"cannot be written \({os.strerror(number)}\)"), workdir_lock(tmp_path):
        pass
