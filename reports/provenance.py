"""Versions of libraries, and the devices: what a result depends on besides its config."""

import functools
import pathlib
import platform
import subprocess
from importlib import metadata
from typing import Any

import jax

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "diffrax",
    "numpy",
    "tensorflow-datasets",
)


def provenance() -> dict[str, Any]:
    """Versions of libraries and Python, the commit of this code, backend, kind and number of devices, processes."""
    return {
        "commit": commit(),
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "backend": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "num_devices": jax.device_count(),
        "num_processes": jax.process_count(),
    }


@functools.cache
def commit() -> str | None:
    """The commit of this code, with "+" after local changes; None where it is not a clone, or git is missing."""
    command = ["git", "-C", str(ROOT), "--no-optional-locks"]
    try:
        if pathlib.Path(_output([*command, "rev-parse", "--show-toplevel"])).resolve() != ROOT:
            return None  # a copy inside another repository
        changed = _output([*command, "status", "--porcelain", "--untracked-files=no"])
        return _output([*command, "rev-parse", "--short=12", "HEAD"]) + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def _version(package: str) -> str | None:
    """The installed version of `package`, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
