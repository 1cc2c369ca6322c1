"""The benchmark that compares two evaluations example by example."""

import sys

import numpy as np
import pytest

from benchmarks import paired
from core.errors import RunError


def write(workdir, values, index):
    folder = workdir / "eval" / "ckpt_1" / "task"
    folder.mkdir(parents=True)
    for k, rows in enumerate(np.array_split(np.arange(len(index)), 2)):
        np.savez(folder / f"round_{k:05d}.npz", nats_10=values[rows], index=index[rows])
    return str(workdir)


def test_differences_of_the_same_examples_have_their_own_error(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    common, gap = rng.normal(size=50), 0.1 + 0.01 * rng.normal(size=50)
    shuffled = rng.permutation(50)
    a = write(tmp_path / "a", (common + gap)[shuffled], shuffled)
    b = write(tmp_path / "b", common, np.arange(50))
    picture = tmp_path / "p.png"
    monkeypatch.setattr(sys, "argv", ["paired", a, b, "--task=task", f"--picture={picture}"])
    paired.main()
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split("|")[-2].strip() == f"{gap.mean():.4f} ± {gap.std(ddof=1) / 50**0.5:.4f}"
    assert picture.stat().st_size > 1000


def test_other_examples_and_runs_that_are_not_evaluated_are_refused(tmp_path):
    write(tmp_path / "a", np.zeros(4), np.arange(4))
    write(tmp_path / "b", np.zeros(4), np.arange(1, 5))
    found = [paired.figures(tmp_path / name, "task", 1) for name in ("a", "b")]
    with pytest.raises(ValueError, match="of other examples; evaluate both alike"):
        paired.differences(*found)
    with pytest.raises(RunError, match="no evaluation 'task' of checkpoint 2"):
        paired.figures(tmp_path / "a", "task", 2)
