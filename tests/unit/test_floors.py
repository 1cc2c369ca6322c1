"""Who may import whom: rooms are folders, floors are the rows below, and imports lead down."""

import ast
import sys

import pytest

from tests.support.paths import ROOT

FLOORS = (
    ("core",),
    ("sde", "data", "interop", "configs", "evaluation", "reports", "runtime"),
    ("corruption",),
    ("models", "sampling", "likelihood", "training"),
    ("builders",),
    ("systems",),
    ("programs",),
    ("run_lib",),
    ("main",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
SEES = {"sweeps": {"core", "configs", "reports"}, "sweep": {"core", "sweeps"}}  # beside the floors
SIDEWAYS = {("evaluation", "reports")}  # record types
PACKAGES = {  # what a room may import from outside, where that is a promise
    "sde": {"jax", "numpy", "diffrax"},
    "configs": {"absl", "ml_collections"},
    "sweeps": {"absl", "ml_collections", "rich", "submitit", "numpy", "jinja2", "matplotlib"},
}
PENDING: set[tuple[str, str]] = {
}  # fmt: skip


def room_of(path):
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def is_source(path):
    parts = path.relative_to(ROOT).parts
    return not any(
        part.startswith(".") or part in ("tests", "benchmarks", "docs", "notebooks", "site", "runs") for part in parts
    )


FILES = [path for path in sorted(ROOT.rglob("*.py")) if is_source(path)]
ROOMS = {room_of(path) for path in FILES}


def imports(path):
    """Top-level names of everything a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module.split(".")[0]


def test_every_room_has_a_floor():
    assert FLOOR.keys() | SEES.keys() >= ROOMS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_lead_down(path):
    room, found = room_of(path), set(imports(path))
    for other in sorted((found & (FLOOR.keys() | SEES.keys())) - {room}):
        allowed = (room, other) in SIDEWAYS or (path.relative_to(ROOT).as_posix(), other) in PENDING
        if room in SEES:
            allowed |= other in SEES[room]
        elif other in FLOOR:
            allowed |= FLOOR[other] < FLOOR[room]
        assert allowed, f"{path.relative_to(ROOT)} imports {other}"
    if room in PACKAGES:
        assert found - set(sys.stdlib_module_names) - ROOMS <= PACKAGES[room]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tensorflow_and_torch_are_never_imported_and_tensorboard_in_one_place(path):
    found = set(imports(path))
    assert not found & {"tensorflow", "torch"}
    assert "tensorboardX" not in found or path.relative_to(ROOT).as_posix() == "training/log.py"


def test_no_test_module_imports_another():
    """What two of them need is in `tests/support`."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [f"{node.module}."]
                others = [
                    name for name in names if name.startswith("tests.") and name.split(".")[1] not in ("", "support")
                ]
                assert not others, f"{path.relative_to(ROOT)} imports {others[0]}; move what both need to tests/support"
