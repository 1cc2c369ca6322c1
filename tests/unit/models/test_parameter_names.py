"""Names and shapes of stored parameters, which checkpoints and importers depend on: they must never change."""

import hashlib

import jax
import pytest

from builders.network import NETWORKS, example_inputs, make_network
from tests.support.configs import load
from tests.support.networks import CONFIGS, config_of

# SHA-256 over "path shape" of every parameter, of networks whose checkpoints are in use.
EXPECTED = {
    "ncsnpp": "8936be783c4ad13eb8a9f6275cf02f19ddd0dbfa6a1fc7c07a37b03bffe6b023",
    "pyramids": "8b4d00955961942667cb24e854faa900b7140c76aa96825d8cd6d8479397ad08",
    "ddpm": "1f4c06b4396de23264c0830ac9be61d6be4e54dfe29a4598080d76eb0579eeb4",
    "mlp": "a576ebb83e6e72171bbe3608bba0ac9deb633cf9f8f3f82a42aea93ea592b965",
    "ncsn": "27afea0dc0c665f94cab50d61acbfeefa46fd3dfde36aa5a36fe8486dc9ed7e2",
    "ncsnv2": "6994cde3ac1a5d49369a211b19b70b20e76b9cc9aea4c48e04c018e15e80d1ce",
    "wideresnet": "4ba69d301792bdf696331c5fc973d1f080bc0b593273384e4094635d8b7260b6",
    "ncsnpp_unconditional": "46d2aaf52286b8e787d3c2c4e14a8bf9e810ee7da8ebb70a2f56c7ad1932fcc5",
    "ncsnpp_fourier": "80f264870a20ee18d16347ddfa5b11437c89094af4a89dd0e2ad28aeb4478332",
    "ncsnpp_residual": "d673ecae134f96ce3267a93376e2e2581fb5d915e841788bbfe1851b37e34201",
    "ddpm_unconditional": "e898860729f2de8703a7bf207273c0bf31c195c7993a1d6d0be0130374462f66",
    "mlp_classes": "1e125bbaa8a1f7da3971a74ba30a6805ac67967ad22036973e9bae7ade13497b",
    "mlp_unconditional": "193676043baee7bbf9353d12bac2b1284b34158d1f814ac0405f711ff7c4e30d",
    "ncsnv2_128": "595415ba9a81b9ab27a5040ec211fe522d1f426d1e5e70ed44977eba184fe5c5",
    "ncsnv2_256": "82ad56eac1b522394ca6a81eb234a7b5559d84433272b0a4f74bc5e432aa7c4e",
    "s4_residual": "84cfb71993779e289011116f705385b162d376a6605822e6db6b35f13b8580d5",
    "dit": "2a9539e5c6f6303356447b33513bce13c06114512224ac310b6407041c13df30",
    "edm2": "8c558ebe169e61d5439e1e860a2879d7110e4ca0c165505e2aa0b82d5f1d9117",
    "token_transformer": "b321acfd1a8996938d839dd8f3a89279edb6fd8f192e2298bb8af0cada259204",
}
VARIANTS = {name: (name, {}) for name in CONFIGS} | {
    "ncsnpp_unconditional": ("ncsnpp", {"conditional": False, "num_labels": 0}),
    "ncsnpp_fourier": ("ncsnpp", {"embedding_type": "fourier", "augment_dim": 9}),
    "ncsnpp_residual": ("pyramids", {"progressive": "residual", "progressive_input": "residual"}),
    "ddpm_unconditional": ("ddpm", {"conditional": False, "resamp_with_conv": False}),
    "mlp_classes": ("mlp", {"num_labels": 2, "augment_dim": 9, "embedding_type": "fourier"}),
    "mlp_unconditional": ("mlp", {"conditional": False}),
    "ncsnv2_128": ("ncsnv2", {"name": "ncsnv2_128"}),
    "ncsnv2_256": ("ncsnv2", {"name": "ncsnv2_256"}),
}


OF_FILES = {
    "dit": "configs/flow/digits_dit.py",
    "edm2": "configs/edm2/digits.py",
    "token_transformer": "configs/vqddm/digits_absorbing.py",
}  # without classes


def variant(name):
    """The config of one of VARIANTS or OF_FILES."""
    if name in OF_FILES:
        config = load(OF_FILES[name])
        config.model.num_labels = 0
        return config
    base, settings = VARIANTS[name]
    config = config_of(base)
    config.model.update(**settings)
    return config


def digest(config):
    """The hash of the names and shapes of the parameters of a config's network."""
    shapes = jax.eval_shape(lambda: make_network(config).init(jax.random.key(0), *example_inputs(config)))["params"]
    lines = [f"{jax.tree_util.keystr(path)} {leaf.shape}" for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def test_every_network_has_a_variant():
    assert {variant(name).model.name for name in (*VARIANTS, *OF_FILES)} == set(NETWORKS)


@pytest.mark.parametrize("name", [*VARIANTS, *OF_FILES])
def test_names_and_shapes_of_parameters_are_those_of_stored_checkpoints(name):
    assert digest(variant(name)) == EXPECTED[name]
