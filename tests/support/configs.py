"""The experiments of `configs/`: their paths, the published settings, and how one is loaded by its path."""

import importlib.util
import json

from benchmarks.hostile.kinds import NETWORK
from tests.support.paths import GOLDEN, ROOT

EXPERIMENTS = json.loads((GOLDEN / "experiments.json").read_text())
PATHS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.py")
    if len(path.relative_to(ROOT).parts) > 2
    and not {"sections", "presets", "sweeps"} & set(path.relative_to(ROOT).parts)
)
PUBLISHED = [path for path in PATHS if path in EXPERIMENTS]
# For processes, where it does not matter what they train: quick to trace, and nothing to import.
QUICK = {"model.name": NETWORK, "data.dataset": "synthetic"}
QUICK_FLAGS = [f"--config.{key}={value}" for key, value in QUICK.items()]


def load(path):
    spec = importlib.util.spec_from_file_location("experiment_config", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
