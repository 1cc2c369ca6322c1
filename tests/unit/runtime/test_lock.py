"""The lock of a workdir."""

import errno
import re

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
