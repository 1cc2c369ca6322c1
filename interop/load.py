"""Reads a checkpoint of another program: `load(path, like, order)` detects its format from its first bytes."""

import pathlib
from collections.abc import Sequence

from core.reading import UnreadableError, open_zip
from interop import export
from interop.base import CheckpointFormatError, Imported, Tree, fit
from interop.formats import flax_msgpack, torch_checkpoint, torch_pickle


def load(path: pathlib.Path, like: Tree, order: Sequence[str]) -> Imported:
    """The contents of a Flax or PyTorch checkpoint, or of exported parameters, checked against a network.

    like, order: the network's parameters and modules, see `interop.names.order.outline`.
    Nothing in the file is executed.
    Errors: CheckpointFormatError, one sentence that starts with the path.
    """
    if not path.is_file():
        raise CheckpointFormatError(f"{path} is not a file; give the checkpoint to import.")
    try:
        return fit(read(path, like, order), like)
    except CheckpointFormatError as error:
        raise CheckpointFormatError(f"{path} {error}") from error


def read(path: pathlib.Path, like: Tree, order: Sequence[str]) -> Imported:
    """The contents of a file in our names, not yet checked against the network; see `load`."""
    with open(path, "rb") as file:
        start = file.read(16)
    if not start:
        raise CheckpointFormatError("is empty.")
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        if _is_npz(path):
            return export.read_npz(path)
        return torch_checkpoint.convert(torch_pickle.read(path), like, order)
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        what = "was written by PyTorch before 1.6" if start.startswith(torch_pickle.LEGACY_MAGIC) else "is a pickle"
        raise CheckpointFormatError(
            f"{what}, which cannot be read safely (nothing in it was executed); if you trust it, load it with PyTorch "
            "1.6 or later and save it again."
        )
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return export.read_safetensors(path)
    return flax_msgpack.read(path)


def _is_npz(path: pathlib.Path) -> bool:
    """Whether a zip archive contains arrays only; False also for one that cannot be read."""
    try:
        with open_zip(path) as archive:
            names = archive.namelist()
            return bool(names) and all(name.endswith(".npy") for name in names)
    except UnreadableError:
        return False
