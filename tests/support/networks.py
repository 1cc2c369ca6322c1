"""Networks of published settings, and parameters for them without compiling an initialization."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from models.networks.ddpm import DDPM
from models.networks.ncsn import NCSN
from models.networks.ncsnpp import NCSNpp
from models.networks.ncsnv2 import NCSNv2

TINY = {
    "nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4,), "scale_by_sigma": False,
    "embedding_type": "positional",
}  # fmt: skip
TINIEST = {**TINY, "ch_mult": (1,), "attn_resolutions": ()}
NETWORKS = {
    "ncsnpp": NCSNpp,
    "ddpm": DDPM,
    "ncsn": NCSN,
    "ncsnv2_64": functools.partial(NCSNv2, size=64),
    "ncsnv2_128": functools.partial(NCSNv2, size=128),
    "ncsnv2_256": functools.partial(NCSNv2, size=256),
}


def network_of(model, *, num_channels, centered):
    """The network of a published `model` section; settings of other parts are left out."""
    network = NETWORKS[model["name"]]
    names = set(getattr(network, "func", network).__dataclass_fields__) - {"name"}
    fields = {key: value for key, value in model.items() if key in names}
    if model["name"] == "ncsn":
        fields["num_classes"] = model["num_scales"]
    sigmas = tuple(np.geomspace(model["sigma_max"], model["sigma_min"], model["num_scales"]).tolist())
    return network(**fields, num_channels=num_channels, centered=centered, sigmas=sigmas)


def shapes(tree):
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def abstract(model, x, cond=None):
    """Shapes of the parameters, without computing any."""
    time = jax.ShapeDtypeStruct((x.shape[0],), jnp.float32)
    return jax.eval_shape(lambda x, time: model.init(jax.random.key(0), x, time, cond), x, time)["params"]


def random_params(model, x, cond=None):
    """Gaussian parameters of a sensible size, made by NumPy: nothing to compile."""
    rng = np.random.default_rng(0)
    tree = abstract(model, x, cond)
    return jax.tree.map(lambda leaf: (rng.standard_normal(leaf.shape) / 8).astype(np.float32), tree)


def image(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)
