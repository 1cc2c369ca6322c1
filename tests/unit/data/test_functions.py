"""Data sets of a user's own functions, named by an import path."""

import numpy as np
import pytest

from core import imports
from data import stock
from tests.support.own_data import everything, opened

MODULE = """
import numpy as np
from data.fields import Field, labeled
from data.source import Source, from_arrays

CALLS = []


def points(split):
    CALLS.append(split)
    values = np.arange(12, dtype=np.float32).reshape(6, 2) + (split == "test")
    return from_arrays("points", values, num_levels=0, others={"weight": np.ones(6)})


def holes(split):
    values = np.zeros((6, 2), np.float32)
    values[4, 1] = np.inf if split == "test" else np.nan
    return from_arrays("holes", values, num_levels=0)


def nothing(split):
    return None


def wrong(split):
    return Source("wrong", 3, labeled(Field((2,))), lambda rows: {"x": np.zeros((len(rows), 3))})


def broken(split):
    raise ValueError("points.txt does not exist; write it first.")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a user's, whose name no other test has."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_function_gives_the_splits_of_a_data_set(module):
    train, test = (opened(f"{module}:points", split) for split in ("train", "test"))
    assert (train.shape, train.num_levels, len(train)) == ((2,), 0, 6) and "weight" in train.fields
    np.testing.assert_array_equal(everything(test)["x"], everything(train)["x"] + 1)
    assert opened(f"{module}:points") is train and stock.eval_split(f"{module}:points") == "test"  # called once


@pytest.mark.parametrize(("split", "value"), [("train", "nan"), ("test", "inf")])
def test_values_that_are_not_finite_are_named(module, split, value):
    with pytest.raises(ValueError, match=f"example 4 of {module}:holes has the value {value}, but finite numbers"):
        everything(opened(f"{module}:holes", split))


def test_the_name_of_a_data_set_may_be_that_of_a_package(tmp_path, monkeypatch):
    (tmp_path / "my_own_package").mkdir()
    (tmp_path / "my_own_package" / "sets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    assert len(opened("my_own_package.sets:points")) == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("point", "config.data.dataset = '{0}:point': {0} has no function point"),
        ("nothing", "{0}:nothing returned a NoneType for the split train; return a data.source.Source of examples."),
        ("wrong", "{0}:wrong says that label of one example is int32 (1,), but fetches missing; correct its fields"),
        ("broken", "points.txt does not exist; write it first."),
    ],
)
def test_a_function_that_is_no_data_set_is_one_sentence(module, name, message):
    with pytest.raises(ValueError) as error:
        opened(f"{module}:{name}")
    assert str(error.value).startswith(message.format(module)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("no_such_module:points", "no_such_module cannot be imported"),
        ("foldr:pictures", "is not a form and a path; choose one of folder:PATH"),
        ("os:", "is not a form and a path"),
    ],
)
def test_a_path_that_cannot_be_imported_is_one_sentence(dataset, message):
    with pytest.raises(ValueError, match=message):
        opened(dataset)


def test_a_path_that_only_a_checkpoint_names_is_not_imported(module):
    imports.named_by_file(f"{module}:points")
    with pytest.raises(ValueError, match=f"'{module}:points' is code that a checkpoint names, which is not run unask"):
        opened(f"{module}:points")
    imports.named_by_user(f"{module}:points")
    imports.named_by_file(f"{module}:points")
    assert len(opened(f"{module}:points")) == 6
