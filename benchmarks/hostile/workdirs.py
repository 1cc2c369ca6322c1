"""Hostile workdirs: checkpoints whose parts are pipes, are nested deep, or are of another kind."""

import json
import os
import pathlib
import random
import shutil
from collections.abc import Callable

from benchmarks.hostile.arrays import DEEP
from benchmarks.hostile.kinds import TRAINED, Kind, Make

CHECKPOINT = pathlib.Path("checkpoints") / "1"
PARTS = {
    "the config": "config/metadata",
    "the notes": "notes/metadata",
    "the checksums": "checksums/metadata",
    "the list of arrays": "state/_METADATA",
    "the list of files": "state/manifest.ocdbt",
    "an array": "state/ocdbt.process_0/d/*",
    "the commit": "commit_success.txt",
}


def workdir(pattern: str, change: Callable[[pathlib.Path], object]) -> Make:
    """A copy of a trained workdir in which a part of its checkpoint is changed."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        shutil.copytree(path.parent.parent / TRAINED, path)
        chosen = sorted((path / CHECKPOINT).glob(pattern))
        change(rng.choice(chosen))

    return make


def _piped(path: pathlib.Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _looped(path: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _configured(path: pathlib.Path) -> None:
    content = json.loads(path.read_text())
    content["model"]["name"] = "antigravity:Image"
    path.write_text(json.dumps(content))


KINDS = {
    **{f"workdir: {name}, a pipe": Kind("run", "workdir", workdir(part, _piped)) for name, part in PARTS.items()},
    **{
        f"workdir: {name}, nested deep": Kind("run", "workdir", workdir(part, lambda path: path.write_text(DEEP)))
        for name, part in PARTS.items()
        if "metadata" in part.lower()
    },
    **{
        f"workdir: {name}, a sparse terabyte": Kind(
            "run", "workdir", workdir(part, lambda path: os.truncate(path, 2**40)), name == "an array"
        )
        for name, part in PARTS.items()
        if name != "the commit"
    },
    **{
        f"workdir: {name}, a list": Kind("run", "workdir", workdir(part, lambda path: path.write_text("[[1]]")))
        for name, part in PARTS.items()
        if "metadata" in part.lower()
    },
    "workdir: an array, a link to itself": Kind("run", "workdir", workdir(PARTS["an array"], _looped)),
    "workdir: a config that names code": Kind("run", "workdir", workdir(PARTS["the config"], _configured)),
}
