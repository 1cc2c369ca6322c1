"""Other packages with the names of ours, before them on the path."""

import subprocess
import sys

import pytest

from core.errors import ExitCode
from tests.support.paths import ROOT


@pytest.mark.parametrize("name", ["models", "data", "core"])
def test_a_package_that_shadows_ours_is_one_sentence(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    script = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import main"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == ExitCode.USER_ERROR
    assert done.stderr.startswith(f"error: package {name!r} is {tmp_path}") and done.stderr.count("\n") == 1
