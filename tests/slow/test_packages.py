"""Other packages with the names of ours, before them on the path; and packages that a program may not need."""

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


STARTED = """
import runpy
import sys
from multiprocessing import spawn

from absl import app


def run(*_, **__):
    slow = {"diffrax", "equinox", "matplotlib", "scipy.stats", "sklearn", "tensorflow_datasets"}
    print(sorted(slow & sys.modules.keys()), "init_main_from_path" in spawn.get_preparation_data("worker"))


app.run = run
runpy.run_path("main.py", run_name="__main__")
"""


def test_a_program_starts_without_what_few_need_and_its_data_workers_without_the_program():
    done = subprocess.run([sys.executable, "-c", STARTED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "[] False\n", done.stdout + done.stderr
