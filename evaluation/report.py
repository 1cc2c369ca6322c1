"""What an evaluation leaves behind: pictures, sample files and reports, each written whole or not at all."""

import json
import math
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from PIL import Image

from evaluation.figure import is_deviation, warnings_of
from evaluation.rounds import write_atomically

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


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes `image` [H, W, 1 or 3] uint8 as a PNG file; raises ValueError for another type or shape."""
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(f"a picture of {image.dtype} {image.shape} was given; a PNG file takes uint8 [H, W, 1 or 3]")
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    write_atomically(pathlib.Path(path), lambda file: picture.save(file, format="PNG"))


def write_gif(path: str | os.PathLike, frames: Sequence[np.ndarray], seconds: float = 3.0) -> None:
    """Writes `frames` [H, W, 1 or 3] uint8 as a GIF that takes `seconds` and holds its last frame for as long again."""
    pictures = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    shown = [round(1000 * seconds / len(pictures))] * (len(pictures) - 1) + [round(1000 * seconds)]
    write_atomically(
        pathlib.Path(path),
        lambda file: pictures[0].save(
            file, format="GIF", save_all=True, append_images=pictures[1:], duration=shown, loop=0
        ),
    )


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays as one .npz file."""
    write_atomically(pathlib.Path(path), lambda file: np.savez(file, allow_pickle=False, **arrays))


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Writes `content` as JSON: sorted keys, so that equal contents are equal bytes, and null for what is not finite.

    Arrays become lists, NumPy numbers Python's. Raises TypeError for what JSON cannot hold.
    """
    text = json.dumps(_plain(content), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(pathlib.Path(path), lambda file: file.write(text.encode()))


def write_report(directory: str | os.PathLike, report: Mapping[str, Any]) -> pathlib.Path:
    """Writes `report` to `report.json` in `directory` and returns its path; see `write_json`."""
    path = pathlib.Path(directory) / "report.json"
    write_json(path, report)
    return path


def summary(path: str | os.PathLike) -> str:
    """What a person wants to see of a report: its figures, and where the samples and the report lie."""
    path = pathlib.Path(path)
    report = json.loads(path.read_text(encoding="utf-8"))
    results = report["results"]
    lines = [f"Checkpoint {report['checkpoint']}, after {report['step']} steps"]
    noun = "images" if len(report["config"]["data"].get("shape") or "HWC") == 3 else "examples"
    for name, unit in (("bits_per_dim", "bits/dim"), ("nats_per_dim", "nats/dim")):
        if likelihood := results.get(name):
            lines.append(f"  {report['config']['eval']['bpd_dataset']} {unit}  {_with_error(likelihood, noun)}")
    if loss := results.get("loss"):
        lines.append(f"  test loss      {_with_error(loss, noun)}")
    if samples := results.get("samples"):
        lines.append(f"  samples        {path.with_name('samples.png')}  ({samples['num_evals']:g} evaluations each)")
    if measured := results.get("metrics"):
        floor = measured["data_against_data"]
        for name, figure in measured["samples"].items():
            shown = f"{figure['value']:.4g} +- {figure['error'] or 0:.2g}"
            remarks = [f"data against data {floor[name]['value']:.4g}", measured["features"]]
            if is_deviation(figure):  # all other errors are standard errors
                remarks.insert(0, f"+- {figure['error_from']}")
            lines.append(f"  {name:<16}{shown}  ({'; '.join(remarks)})")
    return "\n".join([*lines, f"  report         {path}"])


def figures(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each of the metrics `measured`; of an error that is no standard error, what it is."""
    return "\n".join(
        f"{name:<16}{figure['value']:.5g} +- {figure['error']:.2g}"
        + (f"  (+- {figure['error_from']})" if is_deviation(figure) else "")
        for name, figure in measured.items()
    )


def warnings(path: str | os.PathLike) -> list[str]:
    """What the metrics of a report warn of, each sentence once."""
    results = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["results"]
    return warnings_of(results["metrics"]) if "metrics" in results else []


def _with_error(figures: Mapping[str, Any], noun: str) -> str:
    return f"{figures['mean']:.4f} +- {figures['standard_error']:.4f}  ({figures['num_examples']} {noun})"


def provenance() -> dict[str, Any]:
    """The versions and the device behind a number: libraries, Python, backend, kind and count of devices, processes."""
    return {
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "backend": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "num_devices": jax.device_count(),
        "num_processes": jax.process_count(),
    }


def _version(package: str) -> str | None:
    """The installed version of `package`, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    """`value` in Python's own types, with None in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, pathlib.PurePath):
        return str(value)
    return value
