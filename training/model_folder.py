"""A model that stands alone: a folder with all that a checkpoint is sampled and evaluated with, to be copied anywhere.

params.safetensors        the averaged parameters, by their paths
collections.safetensors   other variables, where the model has some
frozen/                   the networks of earlier stages, where the model has some; see `training.frozen`
guide.model/              a folder like this one, where another network guides the samples
config.json               the config that it was trained with
data.json                 shape, levels and classes of the data; checkpoint and step; the SHA-256 of the other files
README.md                 for people; nothing reads it
"""

import hashlib
import pathlib
import shutil
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding, SingleDeviceSharding

from core.errors import DamagedFileError
from core.files import read_json, size_of, temporary_folder, write_json
from core.outputs import refuse_existing
from interop import export
from interop.base import CheckpointFormatError, nest
from training import frozen
from training.checkpoint import CheckpointError
from training.checksums import checksum_of_json
from training.objectives.base import Variables

SUFFIX = ".model"  # of the folders that are exported
PARAMS, COLLECTIONS, CONFIG, ABOUT = "params.safetensors", "collections.safetensors", "config.json", "data.json"
CARD = "README.md"
GUIDE = f"guide{SUFFIX}"
FORMAT = 1  # raised where an older version could not read a folder


class ModelFolder:
    """A folder that `write` has made; it is read by the methods by which `training.checkpoint.Checkpoints` is.

    Errors, also of the methods: CheckpointError, one sentence, where a file is missing, damaged or of another form.
    """

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        about = self._json(ABOUT)
        known = {"format": int, "checkpoint": int, "step": int, "data": dict, "frozen": dict, "sha256": dict}
        for name, kind in known.items():
            if not isinstance(about.get(name), kind):
                raise self._error(f"{ABOUT} has {str(about.get(name))[:50]!r} as {name!r}")
        if about["format"] != FORMAT:
            raise CheckpointError(
                f"{directory} has format {about['format']}, but this version reads {FORMAT}; use the version that "
                "exported it, or export the model again."
            )
        if about.pop("checksum", None) != checksum_of_json(about):
            raise self._error(f"{ABOUT} does not match its checksum")
        self._about = about

    def numbers(self) -> list[int]:
        """The number of the only checkpoint."""
        return [self._about["checkpoint"]]

    def config(self, number: int) -> dict[str, Any]:
        """The config, as JSON, that it was trained with."""
        for name in {CONFIG, *self._about["sha256"]} - {PARAMS, COLLECTIONS}:  # which are verified where they are read
            self._verify(name)
        return self._json(CONFIG)

    def notes(self, number: int) -> dict[str, Any]:
        """What is known of the data and of the networks of earlier stages, and the step."""
        return {name: self._about[name] for name in ("data", frozen.FROZEN, "step")}

    def read(self, number: int, fields: Collection[str], sharding: Sharding | None = None) -> dict[str, Any]:
        """These fields of a training state; one that the folder does not have is an empty dict."""
        found = {"step": np.int32(self._about["step"]), "ema_params": self._arrays(PARAMS)}
        if COLLECTIONS in self._about["sha256"]:
            found["collections"] = self._arrays(COLLECTIONS)
        sharding = sharding or SingleDeviceSharding(jax.devices()[0])
        return {name: jax.device_put(found[name], sharding) if name in found else {} for name in fields}

    def close(self) -> None:
        """Nothing is open."""

    def _arrays(self, name: str) -> Variables:
        self._verify(name)
        try:
            return nest(export.read_safetensors(self.directory / name).params)
        except CheckpointFormatError as error:
            raise self._error(f"{name} {str(error).rstrip('.')}") from error

    def _verify(self, name: str) -> None:
        expected, path = self._about["sha256"].get(name), self.directory / name
        try:
            found = sha256_of(path)
        except OSError as error:
            raise self._error(f"{name} is missing or cannot be read") from error
        if found != expected:
            raise self._error(f"{name} has the SHA-256 {found[:12]}, but {ABOUT} says {str(expected)[:12]}")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return read_json(self.directory / name)
        except OSError as error:
            raise self._error(f"{name} is missing or cannot be read") from error
        except DamagedFileError as error:
            raise self._error(f"{name} holds no JSON object") from error

    def _error(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"The model in {self.directory} is damaged or incomplete: {what}; copy the whole folder again, or export "
            "the model again."
        )


def is_model_folder(path: pathlib.Path) -> bool:
    """Whether a folder is a model that stands alone, perhaps an incomplete one, and not the workdir of a run."""
    return not (path / "checkpoints").is_dir() and any((path / name).is_file() for name in (PARAMS, CONFIG, ABOUT))


def write(
    path: pathlib.Path,
    variables: Variables,
    config: Mapping[str, Any],
    about: Mapping[str, Any],
    source: pathlib.Path,
    extra: Mapping[str, bytes],
    write_guide: Callable[[pathlib.Path], None] | None = None,
) -> None:
    """Writes a model as a new folder, which is complete or absent.

    variables: averaged parameters and collections. about: "checkpoint", "step", "data" and "frozen", see
    `ModelFolder.notes`. source: the workdir, or the folder, that has the networks of earlier stages. extra: further
    files by name, such as the model card. write_guide: writes the network that guides the samples to a path.
    Errors: FileExistsError; CheckpointFormatError for names of parameters that are not strings.
    """
    refuse_existing(path)
    with temporary_folder(path) as folder:
        collections = {name: part for name, part in variables.items() if name not in ("params", frozen.FROZEN)}
        export.write(folder / PARAMS, variables["params"])
        if jax.tree.leaves(collections):
            export.write(folder / COLLECTIONS, collections)
        for name in about[frozen.FROZEN]:
            for file in frozen.files(source, name):
                (folder / frozen.FOLDER).mkdir(exist_ok=True)
                shutil.copyfile(file, folder / frozen.FOLDER / file.name)
        if write_guide is not None:
            write_guide(folder / GUIDE)
        write_json(folder / CONFIG, config)
        hashes = {file.relative_to(folder).as_posix(): sha256_of(file) for file in folder.rglob("*") if file.is_file()}
        write_about(folder, {**about, "format": FORMAT, "sha256": hashes})
        for name, content in extra.items():
            (folder / name).write_bytes(content)
        folder.rename(path)


def write_about(folder: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes `data.json` with the checksum of its content."""
    write_json(folder / ABOUT, {**content, "checksum": checksum_of_json(content)})


def sha256_of(path: pathlib.Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Errors: OSError, also for what is no file."""
    size_of(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
