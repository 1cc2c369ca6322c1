"""The order of the rooms: who may import whom."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = {
    "sde": set(),
    "models": set(),  # models/parameterizations.py also sde
    "sampling": {"sde"},
    "likelihood": {"sde"},
    "training": {"sde"},
    "data": set(),
    "evaluation": set(),
    "interop": set(),
    "configs": set(),  # configs/sweeps also sweeps
    "sweeps": {"configs"},
}
ALLOWED_OUTSIDE = {
    "sde": {"jax", "numpy"},
    "data": {"numpy", "tensorflow_datasets", "grain", "PIL", "sklearn", "array_record"},
    "configs": {"ml_collections"},
    "sweeps": {"absl", "ml_collections", "rich", "submitit"},  # no jax: a start with nothing to do is quick
}
TOP = {
    "allocation",
    "build",
    "build_conditional",
    "build_data",
    "build_devices",
    "build_features",
    "build_guidance",
    "build_likelihood",
    "build_network",
    "build_sampler",
    "build_shape",
    "compiled",
    "exchange",
    "experiment",
    "feed",
    "inspect_data",
    "memory",
    "progress",
    "run_lib",
    "run_train",
    "sample",
    "sample_base",
    "sample_latent",
    "sample_restore",
    "snapshot",
    "sweep",
    "main",
    "measure",
    "tests",
    "benchmarks",
}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path):
    """Top-level names of everything a file imports, with the file itself for context."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_below_it(path):
    room = path.relative_to(ROOT).parts[0]
    allowed = ROOMS[room] | {room}
    if path.relative_to(ROOT).as_posix() in ("models/parameterizations.py", "models/blocks/embeddings.py"):
        allowed |= {"sde"}
    if path.is_relative_to(ROOT / "configs" / "sweeps"):
        allowed |= {"sweeps"}
    found = set(imports(path))
    assert not found & (TOP | ROOMS.keys()) - allowed
    if room in ALLOWED_OUTSIDE:
        import sys

        outside = found - set(sys.stdlib_module_names) - ROOMS.keys()
        assert not outside - ALLOWED_OUTSIDE[room]


def test_only_the_trainer_and_the_tests_know_tensorboard_and_nothing_knows_tensorflow():
    for path in [*FILES, *ROOT.glob("*.py")]:
        found = set(imports(path))
        assert not found & {"tensorflow", "torch"}, path
        assert "tensorboardX" not in found or path.name == "log.py", path


def test_rooms_and_programs_depend_in_one_direction():
    """main knows run_lib, run_lib knows build, and none of them is known by a room."""
    assert "run_lib" in set(imports(ROOT / "main.py"))
    assert "run_train" in set(imports(ROOT / "run_lib.py"))
    assert "build" in set(imports(ROOT / "programs/experiment.py"))
    assert "build" not in set(imports(ROOT / "main.py"))
    assert not set(imports(ROOT / "build.py")) & {"run_lib", "main", "experiment"}
