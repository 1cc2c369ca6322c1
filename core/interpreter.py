"""Whether this Python can run the programs. Any Python since 3.8 can read this file, and nothing is imported."""

import importlib.util
import pathlib
import sys

OLDEST = (3, 11)  # as in pyproject.toml
PACKAGES = ("jax", "absl", "ml_collections", "rich")  # some of requirements.txt, by the names they are imported by
HERE = pathlib.Path(__file__).resolve().parent.parent


def problem() -> str:
    """What is wrong with this Python, in one sentence; empty if nothing is."""
    python = HERE / ".venv" / "bin" / "python"
    ready = (HERE / ".venv" / ".run").exists()
    remedy = f"use {python}" if ready else f"run `make setup` in {HERE} once, then use {python}"
    if sys.version_info[:2] < OLDEST:
        found, oldest = (".".join(map(str, version)) for version in (sys.version_info[:2], OLDEST))
        return f"{sys.executable} is Python {found}, but {oldest} or newer is needed: {remedy}."
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{sys.executable} does not have {missing[0]}: {remedy}."
    return ""
