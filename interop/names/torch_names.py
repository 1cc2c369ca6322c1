"""How the published PyTorch networks (NCSN++, DDPM++, DDPM) name and lay out the parameters of ours.

A published network keeps its modules in one flat list, `all_modules`, in order of use; inside a module the names are
the same as ours, with PyTorch's leaves. The order in which our network uses its modules is therefore the whole map.
"""

from collections.abc import Iterable, Sequence

import numpy as np

PREFIX = "module."  # left by DataParallel
BUFFERS = ("sigmas",)  # stored with the parameters, but not trained
_LEAVES = {"kernel": "weight", "scale": "weight"}


def torch_names(names: Iterable[str], order: Sequence[str]) -> dict[str, str]:
    """`{our name: PyTorch name}`, for instance "Conv_0/kernel": "all_modules.3.weight".

    names: "module/.../leaf" of each parameter. order: the modules of `all_modules`, see `interop.names.order.outline`.
    Errors: KeyError for a name whose module is not in `order`.
    """
    index = {module: k for k, module in enumerate(order)}
    renamed = {}
    for name in names:
        module, *inner, leaf = name.split("/")
        renamed[name] = ".".join(["all_modules", str(index[module]), *inner, _LEAVES.get(leaf, leaf)])
    return renamed


def is_trained(name: str) -> bool:
    """Whether the published network trains a parameter (our name): it trains all but the Fourier frequencies."""
    return not name.startswith("GaussianFourierProjection_")


def to_ours(name: str, value: np.ndarray) -> np.ndarray:
    """A PyTorch tensor in our layout: convolutions OIHW -> HWIO, dense layers transposed, all others unchanged.

    name: ours. "W" of a NIN is [in, out] in both. A tensor of an unexpected rank is left for `fit` to refuse.
    """
    leaf = name.rsplit("/", 1)[-1]
    if leaf in ("kernel", "weight") and value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if leaf == "kernel" and value.ndim == 2 else value
