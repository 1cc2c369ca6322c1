"""Checkpoints that do not match the config, or are incomplete: the error names the tensors and their shapes."""

import re

import numpy as np
import pytest
from flax import serialization

from builders.network import make_network
from interop.base import CheckpointFormatError
from interop.load import load
from tests.support import torch_files
from tests.support.published import PAIR, checkpoint, config_of, golden_file, outline_of
from tests.support.torch_files import Tensor


def edited(change):
    """The golden Flax file after a change of its state."""
    state = serialization.msgpack_restore(golden_file(PAIR[0]).read_bytes())
    change(state)
    return serialization.msgpack_serialize(state)


@pytest.mark.parametrize("name", PAIR)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"nf": 16}, "AttnBlockpp_0/NIN_0/W (16, 16) instead of (32, 32)"),
        ({"num_res_blocks": 2}, " tensors are missing ("),
        ({"progressive_input": "none"}, " tensors are unexpected ("),
        ({"embedding_type": "positional", "scale_by_sigma": False}, "GaussianFourierProjection_0/W (8)"),
    ],
)
def test_a_file_of_another_network_names_tensors_and_shapes(name, changes, expected):
    config = config_of(name)
    config.model.update(changes)
    if name.startswith("torch") and "embedding_type" in changes:
        expected = "all_modules.0.W (8)"  # a PyTorch name gives only the position
    with pytest.raises(CheckpointFormatError, match="does not match the network of the config") as caught:
        load(golden_file(name), *outline_of(make_network(config)))
    assert expected in str(caught.value) and str(caught.value).startswith(str(golden_file(name)))


def test_a_missing_tensor_of_a_pytorch_file_has_both_names():
    config = config_of("torch_ncsnpp_ve_cont_skip")
    config.model.num_res_blocks = 2
    with pytest.raises(CheckpointFormatError) as caught:
        load(golden_file("torch_ncsnpp_ve_cont_skip"), *outline_of(make_network(config)))
    assert re.search(r"are missing \(\w+/\w+/\w+ \([\d, ]+\) = all_modules\.\d+\.\w+\.\w+, ", str(caught.value))
    assert len(str(caught.value)) < 2000 and "\n" not in str(caught.value)


def test_an_error_stays_short_whatever_the_names_in_the_file(refused):
    def change(state):
        state["optimizer"]["target"].update({f"{k}{'long' * 10_000}": np.zeros(5, np.float32) for k in range(100)})

    assert len(refused(edited(change))) < 2000


def test_missing_extra_and_misshapen_tensors_are_counted_and_named(refused):
    def change(state):
        params = state["optimizer"]["target"]
        params["Conv_2"] = {"bias": np.zeros(5, np.float32)}
        params["Conv_0"]["kernel"] = np.zeros((3, 3, 1, 8), np.float32)
        for k in range(6):
            del params[f"ResnetBlockBigGANpp_{k}"]["Conv_0"]["bias"]

    message = refused(edited(change))
    assert "6 tensors are missing (ResnetBlockBigGANpp_0/Conv_0/bias (8), " in message and "and 2 more)" in message
    assert "1 tensor is unexpected (Conv_2/bias (5))" in message
    assert "1 tensor is of another shape (Conv_0/kernel (3, 3, 1, 8) instead of (3, 3, 3, 8))" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["params_ema"].pop("Conv_0"), "in the averaged parameters, 2 tensors are missing"),
        (lambda s: s["optimizer"]["state"]["param_states"].pop("Conv_0"), "first moments, 2 tensors are missing"),
        (lambda s: s["params_ema"]["Conv_0"].update(bias=np.full(8, np.nan, np.float32)), "not finite"),
        (lambda s: s["params_ema"]["Conv_0"].update(bias=np.zeros(8, np.int32)), "int32 (8,) as Conv_0/bias"),
        (lambda s: s["params_ema"]["Conv_0"].update(bias="x"), "str as Conv_0/bias"),
        (lambda s: s.update(step=np.int32(-1)), "step = -1"),
        (lambda s: s.update(step=None), "step = None"),
        (lambda s: s["optimizer"]["state"].pop("step"), "optimizer/state/step = None"),
        (lambda s: s.update(model_state={"batch_stats": {"mean": np.zeros(3, np.float32)}}), "model_state/batch_stats"),
        (lambda s: s["optimizer"].pop("target"), "optimizer/target"),
        (lambda s: s.pop("params_ema"), "must be a map with step, optimizer, params_ema"),
    ],
)
def test_a_flax_state_with_a_fault_says_which(change, expected, refused):
    assert expected in refused(edited(change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["ema"]["shadow_params"].pop(), "averaged tensors in ema/shadow_params, but its model has"),
        (lambda c: c["ema"].update(shadow_params=None), "no averaged tensors"),
        (lambda c: c["optimizer"]["state"].pop(3), "without Adam's step"),
        (lambda c: c["optimizer"]["state"][3].update(step=6), "differ in their number of steps"),
        (lambda c: c["optimizer"]["param_groups"][0].update(params=[0, 1]), "an optimizer of"),
        (lambda c: c["optimizer"]["param_groups"].clear(), "an optimizer of 0"),
        (lambda c: c.update(step="x"), "step = x"),
        (lambda c: c.pop("ema"), "must be a dict with optimizer, model, ema and step"),
        (
            lambda c: c.update(model={"module.begin_conv.weight": c["model"]["module.sigmas"]}),
            "a network other than NCSN++",
        ),
    ],
)
def test_a_pytorch_state_with_a_fault_says_which(change, expected, tmp_path):
    shapes, order, _, contents = checkpoint("small")
    change(contents)
    torch_files.save(tmp_path / "a.pth", contents)
    with pytest.raises(CheckpointFormatError) as caught:
        load(tmp_path / "a.pth", shapes, order)
    assert expected in str(caught.value)


# Replacements of a part: a wrong type, an empty one, a number out of range.
ODD = (None, "x", -1, 2**2000, float("nan"), True, [], {}, [[]], {"a": [1]}, {"a/b": 1})


def places(tree, depth=3):
    """(dict or list, key) of the first entries of each level, up to `depth` levels down."""
    keys = [*list(tree)[:2], "lr", "step", "params"] if isinstance(tree, dict) else range(min(1, len(tree)))
    for key in keys:
        if isinstance(tree, dict) and key not in tree:
            continue
        yield tree, key
        if depth > 1 and isinstance(tree[key], dict | list):
            yield from places(tree[key], depth - 1)


def test_any_part_of_a_pytorch_file_may_be_anything(tmp_path):
    shapes, order, _, contents = checkpoint("smallest")
    for parent, key in list(places(contents, 4)):
        kept = parent[key]
        for odd in (*ODD, Tensor(np.zeros((2, 2), np.float32)), np.float64(np.inf)):
            parent[key] = odd
            torch_files.save(tmp_path / "a.pth", contents)
            _load_or_refuse(tmp_path / "a.pth", shapes, order)
        parent[key] = kept


def test_any_part_of_a_flax_file_may_be_anything(network, tmp_path):
    state = serialization.msgpack_restore(golden_file(PAIR[0]).read_bytes())
    for parent, key in list(places(state, 4)):
        kept = parent[key]
        for odd in (*(o for o in ODD if o != 2**2000), 2**63, 1j, np.zeros((2, 2)), np.array("text"), np.complex64(1)):
            parent[key] = odd
            try:
                (tmp_path / "a").write_bytes(serialization.msgpack_serialize(state))
            except ValueError:  # it cannot be written
                continue
            _load_or_refuse(tmp_path / "a", *network)
        parent[key] = kept


def _load_or_refuse(path, shapes, order):
    """Either a result or a clear error."""
    try:
        load(path, shapes, order)
    except CheckpointFormatError as error:
        assert str(error).startswith(str(path))
