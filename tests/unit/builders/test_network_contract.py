"""What every network of the table keeps to, for data of every rank that it declares, without compiling any."""

import jax
import jax.numpy as jnp
import pytest

from builders.network import NETWORKS, example_inputs, make_network
from configs import default
from models.blocks.conditioning import ENTRIES

SHAPES = {1: (6,), 2: (16, 2), 3: (16, 16, 3), 4: (8, 8, 8, 2)}
CASES = [(name, rank) for name, entry in NETWORKS.items() for rank in entry.ranks]
CONDITIONS = {"add": "a[4]:add", "norm": "b[]/3:norm", "cross": "d[5]/7:cross"}
B = 2


def config_of(name, rank, **model):
    """A small config of a network for data of a rank."""
    config, entry = default.get_config(), NETWORKS[name]
    config.data.shape = SHAPES[rank]
    config.model.update(name=name, nf=8, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(8,), dropout=0.0)
    config.model.update(channel_multiplier=1, blocks_per_group=1, num_labels=3 if entry.is_classifier else 0)
    config.model.num_categories = 5
    if name.startswith("ncsn") and name != "ncsnpp":
        config.training.update(sde="vesde", continuous=False)
        config.model.update(normalization="InstanceNorm++", num_scales=4)
    config.model.update(**model)
    return config


def condition_of(name, rank):
    """A condition for each way in that a network declares."""
    sides = SHAPES[rank][:-1]
    known = CONDITIONS | {"concat": f"c[{','.join(map(str, (*sides, 5)))}]:concat"}
    return tuple(known[entry] for entry in NETWORKS[name].signals)


def outline(config):
    """Shapes of the parameters by path, and shape and dtype of the output for a batch of B."""
    network, inputs = make_network(config), example_inputs(config)
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((B, *leaf.shape[1:]), leaf.dtype), inputs)
    trace = lambda *given: network.init_with_output({"params": jax.random.key(0)}, *given)  # noqa: E731
    output, variables = jax.eval_shape(trace, *batch)
    assert set(variables) == {"params"}
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}, (output.shape, output.dtype)


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_what_a_network_declares_adds_parameters_renames_none_and_keeps_the_shape_and_type_of_the_data(name, rank):
    entry = NETWORKS[name]
    sites = (B, *SHAPES[rank], 5) if entry.categories else (B, *SHAPES[rank])
    expected = (B, 3) if entry.is_classifier else sites, jnp.float32
    plain, output = outline(config_of(name, rank))
    assert output == expected
    declared, added = {"dtype": "bfloat16", "remat": entry.remat}, []
    if entry.classes and not entry.is_classifier:
        declared["num_labels"], added = 3, [*added, "Embed_0"]
    if entry.augmentation:
        declared["augment_dim"], added = 9, [*added, "augment"]
    if entry.second_time:
        declared["second_time"], added = True, [*added, "interval", "interval_out"]
    if entry.signals:
        declared["conditions"] = condition_of(name, rank)
        added += [f"signal_{text[0]}" for text in declared["conditions"]]
    found, output = outline(config_of(name, rank, **declared))
    assert output == expected
    assert found.items() >= plain.items()
    for path in added:
        assert any(path in other for other in found.keys() - plain.keys()), path
    assert added or found == plain


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_network_does_not_declare_is_refused(name):
    entry = NETWORKS[name]
    rank = entry.ranks[0]
    refused = [{"remat": True}] if not entry.remat else []
    refused += [{"num_labels": 3}] if not entry.classes else []
    refused += [{"augment_dim": 9}] if not entry.augmentation else []
    refused += [{"second_time": True}] if not entry.second_time else []
    for way in ENTRIES:
        text = f"c[{','.join(map(str, SHAPES[rank]))}]:concat" if way == "concat" else CONDITIONS[way]
        refused += [{"conditions": (text,)}] if way not in entry.signals else []
    for settings in refused:
        with pytest.raises(ValueError, match=f"the network '{name}' "):
            make_network(config_of(name, rank, **settings))
