"""The weights of the FID InceptionV3 from the files of the common evaluators, as a tree of parameters.

torch-fidelity and pytorch-fid publish one file under two names, `weights-inception-2015-12-05-6726825d.pth` and
`pt_inception-2015-12-05-6726825d.pth`; both end in the first eight hexadecimal digits of the file's SHA-256.
"""

import hashlib
import logging
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from core.array_files import read_npz
from core.reading import UnreadableError
from interop.base import CheckpointFormatError, Flat, Tree, flatten, nest
from interop.formats import torch_legacy, torch_pickle

PUBLISHED_SHA256 = "6726825d"  # its first digits
_ADVICE = (
    "give pt_inception-2015-12-05-6726825d.pth of pytorch-fid, weights-inception-2015-12-05-6726825d.pth of "
    "torch-fidelity, or an .npz with the same names"
)


class Weights(NamedTuple):
    """Parameters as nested dicts, the SHA-256 of their file, and whether it is the published file."""

    params: dict[str, Any]
    sha256: str
    published: bool


def load(path: pathlib.Path, like: Tree) -> Weights:
    """The weights in a `.pth` or an `.npz` file, in the shapes of `like`, the network's parameters.

    like: nested, anything with `shape`. The names in an `.npz` are those of the `.pth`, or of `like` joined by "/". A
    file other than the published one is read with a warning: it is not an error, but its metrics are not comparable
    with published ones. A file with the published digits in its name and another hash is damaged and refused. Nothing
    in the file is executed. Errors: CheckpointFormatError, one sentence that starts with the path.
    """
    if not path.is_file():
        raise CheckpointFormatError(f"{path} is not a file; {_ADVICE}.")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    published = sha256.startswith(PUBLISHED_SHA256)
    if path.suffix != ".npz" and PUBLISHED_SHA256 in path.name and not published:
        raise CheckpointFormatError(
            f"{path} has the SHA-256 {sha256[:8]}... but {PUBLISHED_SHA256} in its name: it is cut off or damaged; "
            "fetch it again."
        )
    try:
        params = _fit(to_flat(_read(path)), flatten(like))
    except CheckpointFormatError as error:
        raise CheckpointFormatError(f"{path} {error}") from error
    if not published:
        logging.getLogger("absl").warning(
            "%s has the SHA-256 %s..., not %s... of the published Inception weights: its metrics compare only with "
            "those of the same file", path, sha256[:8], PUBLISHED_SHA256,
        )  # fmt: skip
    return Weights(nest(params), sha256, published)


def to_flat(state: Mapping[str, Any]) -> Flat:
    """Tensors under PyTorch's names in ours: `Mixed_5b.branch1x1.bn.bias` is `Mixed_5b/branch1x1/bias`.

    Kernels [out, in, H, W] become [H, W, in, out], the last layer [out, in] becomes [in, out]; tensors that
    the network does not use (see `UNUSED`) are left out, and other names are kept.
    """
    flat = {}
    for name, value in state.items():
        if name.endswith(UNUSED):
            continue
        ending = next((e for e in NAMES if name == e or name.endswith("." + e)), None)
        if ending is None:
            flat[name] = value
            continue
        ours, axes = NAMES[ending]
        array = np.asarray(value)
        if array.ndim != len(axes):
            raise CheckpointFormatError(f"has {name} with {array.ndim} axes instead of {len(axes)}.")
        flat[(name.removesuffix(ending) + ours).replace(".", "/")] = array.transpose(axes)
    return flat


def _read(path: pathlib.Path) -> Mapping[str, Any]:
    """The names and tensors of a file."""
    if path.suffix == ".npz":
        try:
            return read_npz(path)
        except UnreadableError as error:
            raise CheckpointFormatError(f"cannot be read as an .npz file ({error}).") from error
    contents = torch_legacy.read(path) if torch_legacy.is_legacy(path) else torch_pickle.read(path)
    if not isinstance(contents, Mapping) or not all(isinstance(name, str) for name in contents):
        raise CheckpointFormatError(f"does not contain named tensors; {_ADVICE}.")
    return contents


def _fit(given: Flat, wanted: Mapping[str, Any]) -> Flat:
    """The parameters in float32. Errors: CheckpointFormatError for other names or shapes, or invalid numbers."""
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    if missing or extra:
        some = ", ".join((missing or extra)[:3])
        raise CheckpointFormatError(
            f"is not the InceptionV3 of 2015-12-05: {len(missing)} of its tensors are missing and {len(extra)} are "
            f"unknown ({some}); {_ADVICE}."
        )
    for name, like in wanted.items():
        value = given[name]
        if value.dtype.kind != "f" or value.shape != tuple(like.shape):
            raise CheckpointFormatError(f"has {value.dtype} {value.shape} as {name} instead of float {like.shape}.")
        if not np.isfinite(value).all() or (name.endswith("/var") and (value < 0).any()):
            raise CheckpointFormatError(f"has numbers in {name} that are not finite, or negative variances.")
    return {name: np.ascontiguousarray(given[name], np.float32) for name in wanted}


# PyTorch's ending of a name: ours, and the order of the axes.
NAMES: dict[str, tuple[str, tuple[int, ...]]] = {
    "conv.weight": ("kernel", (2, 3, 1, 0)),
    "bn.weight": ("scale", (0,)),
    "bn.bias": ("bias", (0,)),
    "bn.running_mean": ("mean", (0,)),
    "bn.running_var": ("var", (0,)),
    "fc.weight": ("fc", (1, 0)),
}
UNUSED = ("fc.bias", "num_batches_tracked")
