"""The Python of the tutorial and of the how-to pages runs as written."""

import re

import pytest

from tests.support.documented import BLOCK, name
from tests.support.paths import ROOT

HOWTO = sorted((ROOT / "docs/howto").glob("*.md"))
FRAGMENT = re.compile(
    r"# \S+, (in|with|below) "
)  # a line for a table of another file: tests/slow/test_recipes.py applies it


def run_blocks(page, folder, monkeypatch):
    """The Python blocks of a page, in order, in one namespace; what they write is written to `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace = {"__name__": page.stem}
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        if block[1] == "python" and not FRAGMENT.match(block[2]):
            lines = "\n" * text.count("\n", 0, block.start(2))  # so that a traceback has the page's own numbers
            exec(compile(lines + block[2], name(page), "exec"), namespace)
    return namespace


def test_the_tutorial_runs_as_written(tmp_path, monkeypatch):
    run_blocks(ROOT / "docs/tutorial.md", tmp_path, monkeypatch)
    written = {path.name for path in tmp_path.iterdir()}
    shown = set(re.findall(r"images/(tutorial_\w+\.png)", (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")))
    assert written == shown


@pytest.mark.parametrize("page", HOWTO, ids=name)
def test_code_of_the_how_to_pages_runs_as_written(page, tmp_path, monkeypatch):
    run_blocks(page, tmp_path, monkeypatch)
    assert not list(tmp_path.iterdir())
