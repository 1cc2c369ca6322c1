"""A sweep of a system that lies beside its config file shows what its evaluations declare."""

import os
import subprocess
import sys

import pytest

from tests.support import toy
from tests.support.paths import CACHE, ROOT, XLA_FLAGS


@pytest.fixture
def place(tmp_path):
    """The folder with the system; at the end the project is as it was."""
    before = toy.digests()
    toy.lay(tmp_path)
    yield tmp_path
    assert len(before) > 300 and toy.digests() == before


def run(place, *words):
    """`sweep.py` in the folder, which is not on PYTHONPATH; what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"XLA_FLAGS": XLA_FLAGS, "JAX_COMPILATION_CACHE_DIR": str(CACHE)}
    command = [sys.executable, str(ROOT / "sweep.py"), "--root=root", *words]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_sweep_shows_the_column_of_the_system(place):
    table = run(place, "--config=experiment.py", "--sweep=two.py", "--parallel=2", "--eval")
    assert "2 finished" in table and "-ELBO (nats)" in table
    run(place, "--report")
    assert "-ELBO (nats)" in (place / "root" / "report.html").read_text()
    assert "elbo.mean" in (place / "root" / "report.csv").read_text()
