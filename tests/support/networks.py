"""Networks of published settings, and parameters for them without compiling an initialization."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from builders.network import example_inputs, make_network
from models.blocks.conditioning import Embedding
from models.networks.ddpm import DDPM
from models.networks.ncsn import NCSN
from models.networks.ncsnpp import NCSNpp
from models.networks.ncsnv2 import NCSNv2
from tests.support.configs import load

TINY = {
    "nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4,), "scale_by_sigma": False,
    "embedding": Embedding(),
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


def fields_of(network, model):
    """The fields of a network class that a published `model` section sets."""
    known = network.__dataclass_fields__.keys() - {"name"}
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in model.items() if key in known}
    if "embedding" not in network.__dataclass_fields__:
        return fields
    scale = model.get("fourier_scale", Embedding.fourier_scale)
    return fields | {"embedding": Embedding(model["embedding_type"], scale, model["conditional"])}


def network_of(model, *, num_channels, centered):
    """The network of a published `model` section; settings of other parts are left out."""
    network = NETWORKS[model["name"]]
    fields = fields_of(getattr(network, "func", network), model)
    if model["name"] == "ncsn":
        fields["num_classes"] = model["num_scales"]
    sigmas = tuple(np.geomspace(model["sigma_max"], model["sigma_min"], model["num_scales"]).tolist())
    return network(**fields, num_channels=num_channels, centered=centered, sigmas=sigmas)


def shapes(tree):
    """The shape of each leaf by its path."""
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
    """Gaussian noise of a shape."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


# Networks that take data of any rank, and configs of every kind of network.
RANK_SHAPES = {"series": (2, 12, 2), "images": (2, 4, 6, 2), "volumes": (2, 4, 6, 2, 2)}
TIMES = np.array([3.0, 700.0], np.float32)
SMALL_UNET = {"nf": 4, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4, 12), "num_channels": 2}
RANKED = {
    "ncsnpp": NCSNpp(**SMALL_UNET, progressive="output_skip"),
    "ncsnpp_residual": NCSNpp(**SMALL_UNET, progressive="residual", resblock_type="ddpm"),
    "ddpmpp": NCSNpp(**SMALL_UNET, fir=False, progressive_input="none", embedding=Embedding(), scale_by_sigma=False),
    "ddpm": DDPM(**SMALL_UNET),
}
VECTORS = {"nf": 8, "num_res_blocks": 1, "num_channels": 5}
UNET_SETTINGS = {"ch_mult": (1, 2), "attn_resolutions": (4,), "dropout": 0.5}
CONFIGS = {
    "ncsnpp": ("configs/vp/smoke.py", {**UNET_SETTINGS, "num_labels": 10}),
    "pyramids": (
        "configs/ve/digits_ncsnpp_continuous.py",
        {**UNET_SETTINGS, "nf": 8, "fir": True, "progressive": "output_skip", "resblock_type": "ddpm"},
    ),
    "ddpm": ("configs/vp/smoke.py", {**UNET_SETTINGS, "name": "ddpm"}),
    "mlp": ("configs/vp/vectors_mlp_continuous.py", {"nf": 4, "num_res_blocks": 1}),
    "s4_residual": (
        "configs/vp/series_ddpmpp_continuous.py",
        {"name": "s4_residual", "nf": 4, "num_res_blocks": 1, "state_size": 4},
    ),
    "ncsn": ("configs/ve/ncsn/cifar10.py", {"nf": 4, "num_scales": 4}),
    "ncsnv2": ("configs/ve/ncsnv2/cifar10.py", {"nf": 4, "num_scales": 4}),
    "wideresnet": (
        "configs/vp/smoke.py",
        {"name": "wideresnet", "num_labels": 10, "channel_multiplier": 1, "blocks_per_group": 1},
    ),
}


def config_of(name, **model):
    """A small config of one of CONFIGS."""
    path, settings = CONFIGS[name]
    config = load(path)
    config.model.update(**(settings | model))
    if name.startswith("ncsn") and name != "ncsnpp":
        config.data.image_size = 8
    return config


def params_of(config):
    """Gaussian parameters of a sensible size, made by NumPy: nothing to compile."""
    rng, inputs = np.random.default_rng(0), example_inputs(config)
    shapes = jax.eval_shape(lambda: make_network(config).init(jax.random.key(0), *inputs))["params"]

    def sample(path, leaf):
        fan_in = max(1, leaf.size // leaf.shape[-1]) if leaf.ndim > 1 else 25
        offset = 1.0 if path[-1].key in ("scale", "gamma") else 0.0
        return jnp.asarray(offset + rng.standard_normal(leaf.shape) / fan_in**0.5, jnp.float32)

    return jax.tree_util.tree_map_with_path(sample, shapes)
