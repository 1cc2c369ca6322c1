"""Shared by all tests: strict ranks, a persistent compilation cache, eight virtual CPU devices, golden numbers."""

import json
import os

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
import pytest
from xdist.scheduler import LoadFileScheduling

from runtime.compile_cache import write_entries_atomically
from tests.support.paths import CACHE, DEVICES, GOLDEN, TESTS, XLA_FLAGS

os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {DEVICES}=8"  # read when the first device is asked for
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE.with_name("processes"))  # of those that the tests start
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"  # else an entry is valid below one path only
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # a third of warm tests is small programs
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_numpy_rank_promotion", "raise")
write_entries_atomically()
# A test may kill a process, but nothing has to outlive a power failure; and twelve thousand compiled programs are kept.
os.fsync = lambda descriptor: None

# The files that take longest in each tier, the longest first; after the first, those that wait beside what computes.
LONGEST = (
    *("docs_commands", "sweep_slurm", "distributed", "experiments", "seasonal_inverse", "sweep_local", "kill_codes"),
    *("kill_workers", "precision", "kill", "faults", "fuzz", "series_oracle", "docs_code", "recipes"),
    *("solvers", "inverse", "contract", "ode"),
    *("configs_train", "latent", "own_data", "convert", "networks_golden", "sample", "ranks", "programs"),
)


def pytest_collection_modifyitems(items):
    """The longest files come first, so that the worker processes end at about the same time."""
    turns = {f"test_{name}": turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path.stem, len(turns)))


class Scheduling(LoadFileScheduling):
    """A worker process takes all tests of a file, or those of one half of the commands of the documentation."""

    def _split_scope(self, nodeid):
        first = "test_docs_commands.py::test_a_command_of_main_runs[" in nodeid and "[docs/configs.md" not in nodeid
        return f"{nodeid.split('::')[0]} {first}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """That of `--dist loadfile`."""
    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


# The files of tests/slow that compute for longer than they compile.
COMPUTING = ("seasonal_inverse", "series_oracle")


class Golden:
    """Numbers of the published implementation: `golden(file)[key]`; `check` takes the tolerance from the index."""

    def __init__(self, name: str):
        self.name = name
        self.arrays = dict(np.load(GOLDEN / f"{name}.npz"))
        self.index = json.loads((GOLDEN / "index.json").read_text())["files"][f"{name}.npz"]

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def params(self, prefix: str = "params/") -> dict:
        """The nested tree of arrays whose keys start with `prefix`; (1, 1, 1, C) norms become (C,)."""
        tree: dict = {}
        for key, value in self.arrays.items():
            if not key.startswith(prefix):
                continue
            *path, leaf = key[len(prefix) :].split("/")
            node = tree
            for part in path:
                node = node.setdefault(part, {})
            node[leaf] = value.reshape(-1) if value.ndim == 4 and value.shape[:3] == (1, 1, 1) else value
        return tree

    def check(self, key: str, value, scale: float = 1.0) -> None:
        """|value - reference| <= atol + rtol * (largest |reference| of the element's group), in double precision."""
        info = self.index["keys"][key]
        target = np.asarray(self.arrays.get(f"{key}_f64", self.arrays[key]), np.float64)
        value = np.asarray(value, np.float64)
        assert value.shape == target.shape, f"{key}: shape {value.shape}, expected {target.shape}"
        size = np.abs(target)
        if info["group"] == "all":
            size = size.max(keepdims=True)
        elif info["group"] == "last1":
            size = size.max(axis=-1, keepdims=True)
        elif info["group"] == "last3":
            size = size.max(axis=(-3, -2, -1), keepdims=True)
        excess = np.abs(value - target) - scale * (info["atol"] + info["rtol"] * size)
        assert np.all(excess <= 0), (
            f"{self.name}/{key}: off by {np.abs(value - target).max():.3g}, "
            f"allowed rtol {info['rtol']} of {size.max():.3g} and atol {info['atol']}"
        )


@pytest.fixture(scope="session")
def golden():
    """`golden("sde_vp")` loads one file of `tests/golden/`, once."""
    loaded: dict[str, Golden] = {}

    def load(name: str) -> Golden:
        if name not in loaded:
            loaded[name] = Golden(name)
        return loaded[name]

    return load


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder for `data.data_dir`, empty: the embedded data sets need none."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True, scope="module")
def _quick_to_compile(request):
    """Programs run a few steps and take long to compile: their tests do without LLVM's optimizations.

    So does the contract of systems, which compiles all that a program does. This holds for the processes that they
    start too, which have one device.
    """
    tier, room, *_ = request.path.relative_to(TESTS).parts
    computes = request.path.stem.removeprefix("test_") in COMPUTING
    if computes or (tier not in ("programs", "slow") and room != "systems"):
        yield
        return
    assert jax.device_count() == 8  # created when first used, which must be before the flags change
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        patch.setenv("XLA_FLAGS", XLA_FLAGS)
        jax.config.update("jax_disable_most_optimizations", True)
        yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def _drop_compiled_programs():
    """Each module starts without the live executables of the one before, so that memory stays bounded."""
    yield
    jax.clear_caches()
