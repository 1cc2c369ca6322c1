"""How the published PyTorch networks (NCSN++, DDPM++, DDPM) name and lay out what ours hold.

There, a network is one flat list `all_modules` in order of use, modules without parameters included; inside a module
the names are the same, with PyTorch's leaves. So the order in which our network uses its modules is the whole map.
"""

from collections.abc import Iterable, Sequence

import numpy as np

PREFIX = "module."  # left by DataParallel
BUFFERS = ("sigmas",)  # kept with the parameters, but not parameters
_LEAVES = {"kernel": "weight", "scale": "weight"}
_INNER = {("Combine", "Conv_0"): "Conv"}


def torch_names(names: Iterable[str], order: Sequence[str]) -> dict[str, str]:
    """`{our name: PyTorch name}`, for instance "Conv_0/kernel": "all_modules.3.weight".

    names: of the parameters, as "module/.../leaf". order: the network's modules in order of use.
    Errors: KeyError for a name whose module is not in `order`.
    """
    index = {module: k for k, module in enumerate(order)}
    renamed = {}
    for name in names:
        module, *inner, leaf = name.split("/")
        kind = module.rpartition("_")[0]
        inner = [_INNER.get((kind, part), part) for part in inner]
        renamed[name] = ".".join(["all_modules", str(index[module]), *inner, _LEAVES.get(leaf, leaf)])
    return renamed


def is_trained(name: str) -> bool:
    """Whether a parameter (our name) gets a gradient there: all but the Fourier frequencies."""
    return not name.startswith("GaussianFourierProjection_")


def to_ours(name: str, value: np.ndarray) -> np.ndarray:
    """A PyTorch tensor in our layout: convolutions OIHW -> HWIO, dense layers transposed, everything else as it is.

    name: ours. "W" of a NIN is [in, out] in both, and a tensor of an unexpected rank is left for `fit` to refuse.
    """
    leaf = name.rsplit("/", 1)[-1]
    if leaf in ("kernel", "weight") and value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if leaf == "kernel" and value.ndim == 2 else value
