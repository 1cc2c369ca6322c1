"""The network of a config: one table has the networks by name, with what each of them can do."""

import contextlib
import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import architectures
from builders.condition import conditions, example_condition
from builders.learned import beside_network
from builders.network_entry import FOUND, NEEDED, SYSTEM_OF, NetworkEntry, Output
from builders.own_network import check_output, own_network
from builders.process import make_corruption, make_sde
from builders.shape import data_shape
from core.arrays import Array
from core.imports import is_import_path
from core.tables import choose
from core.target import float32_products
from data.shapes import KINDS
from models.blocks.conditioning import ENTRIES
from models.networks import dit, mlp, s4_residual, token_transformer

DTYPES: dict[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def network_entry(config: ConfigDict) -> NetworkEntry:
    """The row of `model.name`, or what an import path leads to.

    Errors: ValueError for a name that is not in the table, a path that does not resolve, or unknown capabilities.
    """
    name = config.model.name
    if not is_import_path(name):
        return choose("model.name", name, NETWORKS)
    make, capabilities = own_network(name)
    known = {field.name for field in dataclasses.fields(NetworkEntry)} - {"make"}
    if unknown := sorted(capabilities.keys() - known):
        raise ValueError(
            f"config.model.name = {name!r} has the capability {unknown[0]!r}, but there are {', '.join(sorted(known))}."
        )
    return NetworkEntry(make, **capabilities)


def initial_variables(config: ConfigDict, key: Array) -> dict[str, Any]:
    """The variables of the config's network at step 0: "params", with what is trained beside it, and collections."""
    variables = dict(make_network(config).init({"params": key}, *example_inputs(config)))
    return {**variables, "params": beside_network(config, variables["params"], key)}


def check_outputs(config: ConfigDict, needed: Output) -> None:
    """Errors: ValueError unless the outputs of the network are what a system needs."""
    name, found = config.model.name, network_entry(config).output
    if found == needed:
        return
    others = ", ".join(other for other, row in NETWORKS.items() if row.output == needed)
    system = f", or config.system = {SYSTEM_OF[found]!r}." if found in SYSTEM_OF else "."
    raise ValueError(
        f"config.model.name = {name!r}, whose output is {FOUND[found]}, but config.system = {config.system!r} needs "
        f"{NEEDED[needed]}; use {others}{system}"
    )


def make_network(config: ConfigDict, dtype: str | None = None) -> nn.Module:
    """The network `(x, time, cond=None, train=False) -> output`.

    `dtype`: the type it computes in, by default `model.dtype`; its parameters are float32 in any case.
    Errors: ValueError for settings that the network does not have, or a shape that it cannot take.
    """
    entry = network_entry(config)
    _check_capabilities(config, entry)
    _check_rank(config, entry)
    process = make_corruption(config) if entry.categories else make_sde(config)
    network, name = entry.make(config, process), dtype or config.model.dtype
    if is_import_path(config.model.name) and not entry.is_classifier:
        shape = (1, *data_shape(config), *((config.model.num_categories,) if entry.categories else ()))
        check_output(config.model.name, network, example_inputs(config), shape)
    asked = choose("model.dtype", name, DTYPES)
    if hasattr(network, "dtype"):
        return network.copy(dtype=asked)
    if asked != DTYPES["float32"]:
        raise ValueError(
            f"config.model.dtype = {name!r}, but the network {config.model.name!r} has no field `dtype` and computes "
            "in float32; use float32, or add such a field."
        )
    return network


def example_inputs(config: ConfigDict) -> tuple[np.ndarray, np.ndarray, Any]:
    """Arguments of the network, for its initialization: x [1, ...], time [1], cond."""
    x = np.zeros((1, *data_shape(config)), np.int32 if network_entry(config).categories else np.float32)
    return x, np.ones((1,), np.float32), example_condition(config)


def computes_in(module: nn.Module) -> Any:
    """The type in which a network computes: its field `dtype`, or float32 if it has none."""
    return getattr(module, "dtype", jnp.float32)


def products(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Inside, a network that computes in float32 does so on accelerators, too; see `core.target.float32_products`."""
    return float32_products("high") if computes_in(module) == jnp.float32 else contextlib.nullcontext()


def _check_capabilities(config: ConfigDict, entry: NetworkEntry) -> None:
    """Errors: ValueError for a setting that needs a capability which the network does not have."""
    model = config.model
    same = {name: other for name, other in NETWORKS.items() if other.categories == entry.categories}
    if model.num_labels and not entry.classes:
        others = " or ".join(name for name, other in same.items() if other.classes)
        raise ValueError(
            f"config.model.num_labels = {model.num_labels}, but the network {model.name!r} cannot be conditioned on a "
            f"class; use {others}, or num_labels = 0."
        )
    if model.augment_dim and not entry.augmentation:
        others = " or ".join(name for name, other in same.items() if other.augmentation)
        raise ValueError(
            f"config.model.augment_dim = {model.augment_dim}, but the network {model.name!r} cannot be conditioned on "
            f"an augmentation; use {others}, or augment_dim = 0."
        )
    if model.second_time and not entry.second_time:
        others = " or ".join(name for name, other in NETWORKS.items() if other.second_time)
        raise ValueError(
            f"config.model.second_time = True, but the network {model.name!r} cannot be conditioned on a second time; "
            f"use {others}, or second_time = False."
        )
    for c in conditions(config):
        if c.entry not in entry.signals:
            others = " or ".join(name for name, other in same.items() if c.entry in other.signals)
            ways = f"{' or '.join(entry.signals)}, or " if entry.signals else ""
            raise ValueError(
                f"config.model.conditions has {str(c)!r}, but the network {model.name!r} has no {c.entry!r}; use "
                f"{ways}the network {others}."
            )
    if model.remat and not entry.remat:
        raise ValueError(
            f"config.model.remat = True recomputes residual blocks, which the network {model.name!r} does not have; "
            "set it to False."
        )


def _check_rank(config: ConfigDict, entry: NetworkEntry) -> None:
    """Errors: ValueError if the network does not take examples of the shape of the data."""
    shape = data_shape(config)
    if len(shape) in entry.ranks:
        return
    same = [name for name, e in NETWORKS.items() if len(shape) in e.ranks and e.categories == entry.categories]
    others = ", ".join(name for name in same if not NETWORKS[name].is_classifier)
    if len(shape) == 1:
        others += f", or config.data.shape = ({shape[0]}, 1) for a sequence"
    raise ValueError(
        f"config.model.name = {config.model.name!r} is for {', '.join(KINDS[rank] for rank in entry.ranks)}, but "
        f"examples have the shape {shape}; use {others}."
    )


ANY_GRID = (2, 3, 4)  # series, images and volumes
NETWORKS: dict[str, NetworkEntry] = {
    "ncsnpp": NetworkEntry(
        architectures.make_ncsnpp, ANY_GRID, classes=True, augmentation=True, signals=ENTRIES, second_time=True
    ),
    "ddpm": NetworkEntry(architectures.make_ddpm, ANY_GRID),
    "mlp": NetworkEntry(
        architectures.make_mlp,
        (1,),
        classes=True,
        augmentation=True,
        signals=mlp.ENTRIES,
        second_time=True,
        remat=False,
    ),
    "s4_residual": NetworkEntry(
        architectures.make_s4_residual,
        (2,),
        classes=True,
        augmentation=True,
        signals=s4_residual.ENTRIES,
        second_time=True,
        remat=False,
    ),
    "dit": NetworkEntry(
        architectures.make_dit, ANY_GRID, classes=True, augmentation=True, signals=dit.ENTRIES, second_time=True
    ),
    "edm2": NetworkEntry(architectures.make_edm2, ANY_GRID, classes=True),
    "token_transformer": NetworkEntry(
        architectures.make_token_transformer,
        (1, 2, 3, 4),
        classes=True,
        augmentation=True,
        signals=token_transformer.ENTRIES,
        categories=True,
    ),
    "ncsn": NetworkEntry(architectures.make_ncsn),
    "ncsnv2_64": NetworkEntry(architectures.make_ncsnv2(64)),
    "ncsnv2_128": NetworkEntry(architectures.make_ncsnv2(128)),
    "ncsnv2_256": NetworkEntry(architectures.make_ncsnv2(256)),
    "wideresnet": NetworkEntry(architectures.make_wideresnet, classes=True, is_classifier=True),
}
