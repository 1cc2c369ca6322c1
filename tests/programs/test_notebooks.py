"""The notebooks run as written, cell by cell, on a small network and for a few steps."""

import json
import re
import sys

import matplotlib.pyplot as plt
import pytest

from builders.process import SDE_FAMILIES
from sampling.steps.table import PREDICTORS
from tests.support import perceptron
from tests.support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
CELL = re.compile(r"^# %%(?: \[(\w+)\])?$", re.M)
SMALL = {
    "model.name": perceptron.NAME, "model.nf": 8, "model.num_res_blocks": 1, "training.n_iters": 4,
    "training.log_freq": 2, "training.batch_size": 8, "training.snapshot_freq": 4, "training.snapshot_sampling": False,
    "training.snapshot_freq_for_preemption": 4, "training.eval_freq": 0, "sampling.num_steps": 4, "eval.rtol": 1e-2,
    "eval.batch_size": 96,
    "eval.atol": 1e-2, "optim.warmup": 2,
}  # fmt: skip


def cells(page):
    """(kind, source, line) of each cell; the kind is "markdown" or None for code."""
    text = page.read_text(encoding="utf-8")
    starts = [*CELL.finditer(text)]
    ends = [found.start() for found in starts[1:]] + [len(text)]
    assert starts[0].start() == 0  # nothing is outside of a cell
    return [(s[1], text[s.end() : end], text.count("\n", 0, s.end())) for s, end in zip(starts, ends, strict=True)]


@pytest.fixture
def _tables():
    """Rows that a notebook adds are taken out again."""
    before = [(rows, dict(rows)) for rows in (SDE_FAMILIES, PREDICTORS)]
    yield
    for rows, kept in before:
        rows.clear()
        rows.update(kept)


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_runs_as_written(page, tmp_path, monkeypatch, data_dir, capsys):
    small = SMALL if page.stem == "first_contact" else SMALL | {"model.name": "mlp"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("NOTEBOOK_SETTINGS", json.dumps(small | {"data.data_dir": data_dir}))
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    namespace = {"__name__": page.stem}
    for kind, source, line in cells(page):
        if kind is None:
            exec(compile("\n" * line + source, page.name, "exec"), namespace)
    assert capsys.readouterr().out
    assert list(tmp_path.glob("runs/*/checkpoints/1"))


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_the_first_cells_set_up_colab_and_do_nothing_elsewhere(page, tmp_path, monkeypatch):
    first, second = cells(page)[:2]
    assert first[0] == "markdown" and "Colab" in first[1]
    assert second[0] is None and 'if "google.colab" in sys.modules:' in second[1]
    called = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("subprocess.run", lambda command, **_: called.append(command))
    exec(second[1], {})
    assert called == []
    monkeypatch.setitem(sys.modules, "google.colab", type(sys)("google.colab"))
    (tmp_path / "score_sde").mkdir()
    exec(second[1], {})
    assert [command[:2] for command in called] == [["git", "clone"], [sys.executable, "-m"]]
