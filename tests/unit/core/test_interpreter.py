"""A Python that cannot run the programs: too old, or without their packages."""

import ast
import importlib.util

import pytest

from core import interpreter
from tests.support.paths import ROOT


def test_this_python_is_fine():
    assert interpreter.problem() == ""


@pytest.mark.parametrize("found", [(3, 10), (3, 9)])
def test_an_old_python_is_named_before_anything_else(found, monkeypatch, tmp_path):
    monkeypatch.setattr(interpreter.sys, "version_info", found)
    monkeypatch.setattr(interpreter, "HERE", tmp_path)
    words = interpreter.problem()
    assert f"is Python {found[0]}.{found[1]}, but 3.11 or newer is needed: run `make setup` in {tmp_path} once" in words


def test_an_environment_that_is_ready_is_named(monkeypatch, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".run").touch()
    monkeypatch.setattr(interpreter, "HERE", tmp_path)
    find = importlib.util.find_spec
    monkeypatch.setattr(interpreter.importlib.util, "find_spec", lambda name: None if name == "absl" else find(name))
    assert interpreter.problem().endswith(f"does not have absl: use {tmp_path / '.venv' / 'bin' / 'python'}.")


@pytest.mark.parametrize("name", ["main.py", "sweep.py", "core/__init__.py", "core/interpreter.py"])
def test_what_says_so_can_be_read_by_an_old_python(name):
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))
