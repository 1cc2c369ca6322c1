"""Published checkpoints in both formats: their contents, and the names of parameters for every kind of network."""

import json

import numpy as np
import pytest

from builders.network import make_network
from interop import base, export
from interop.formats import torch_pickle
from interop.load import load
from interop.names import torch_names
from tests.support import torch_files
from tests.support.networks import network_of
from tests.support.paths import GOLDEN
from tests.support.published import (
    CHECKPOINTS,
    FILES,
    NETWORKS,
    checkpoint,
    config_of,
    golden_file,
    outline_of,
    outline_of_kind,
    published_order,
)
from tests.support.torch_files import Tensor


@pytest.fixture(scope="module", params=FILES)
def imported(request):
    """(name, its config, what its file holds)."""
    config = config_of(request.param)
    shapes, order = outline_of(make_network(config))
    return request.param, config, load(golden_file(request.param), shapes, order)


def norm(flat):
    return np.sqrt(sum(np.sum(value.astype(np.float64) ** 2) for value in flat.values()))


def test_steps_moments_and_settings_are_those_of_the_file(imported, golden):
    name, _, found = imported
    g = golden(f"checkpoints/{name}_expected")
    assert found.step == g["step"] == found.adam.count  # in every file Adam made every step
    np.testing.assert_allclose(found.settings["optim.lr"], g["lr"])
    np.testing.assert_allclose(found.settings["model.ema_rate"], g["ema_decay" if "ema_decay" in g else "ema_rate"])
    assert norm(found.adam.mu) > 0 and all(np.all(value >= 0) for value in found.adam.nu.values())
    if name.startswith("jax"):
        parts = {"params_ema": found.ema_params, "params_raw": found.params}
        for part, flat in {**parts, "adam_m": found.adam.mu, "adam_v": found.adam.nu}.items():
            np.testing.assert_allclose(norm(flat), g[f"norm_{part}"], rtol=1e-6)  # the reference is a float32
    else:
        for path, value in base.flatten(g.params("params_ema/")).items():
            np.testing.assert_array_equal(found.ema_params[path], value)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("torch")])
def test_pytorch_names_are_those_of_the_published_map(name):
    shapes, order = outline_of(make_network(config_of(name)))
    expected = json.loads((CHECKPOINTS / "torch_name_map.json").read_text())[name.removeprefix("torch_")]
    assert torch_names.torch_names(base.flatten(shapes), order) == expected


@pytest.mark.parametrize("kind", NETWORKS)
def test_our_networks_use_their_modules_in_the_published_order(kind):
    shapes, order = outline_of_kind(kind)
    assert order == published_order(NETWORKS[kind])
    assert {name.split("/")[0] for name in base.flatten(shapes)} <= set(order)
    names = torch_names.torch_names(base.flatten(shapes), order)
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("name", ["church_ncsnpp_continuous", "ffhq_ncsnpp_continuous"])
def test_released_networks_with_skip_pyramids_use_their_modules_in_the_published_order(name):
    published = json.loads((GOLDEN / "experiments.json").read_text())[f"configs/ve/{name}.py"]
    size, channels = published["data"]["image_size"], published["data"]["num_channels"]
    network = network_of(published["model"], num_channels=channels, centered=published["data"]["centered"])
    assert (network.progressive, network.progressive_input) == ("output_skip", "input_skip")
    assert outline_of(network, size)[1] == published_order(network, size)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("ddpm", "module."),
        ("biggan-input_skip-output_skip-sum", "module."),
        ("ddpm-input_skip-residual-cat", "module."),
        ("ddpm-residual-residual-sum", "module."),
        ("ddpm-blocks-without-conv", ""),
    ],
)
def test_a_pytorch_file_of_any_network_is_read_exactly(kind, prefix, tmp_path):
    shapes, order, parts, contents = checkpoint(kind, prefix=prefix)
    torch_files.save(tmp_path / "a.pth", contents)
    found = load(tmp_path / "a.pth", shapes, order)
    assert (found.step, found.adam.count, found.settings["optim.lr"]) == (7, 7, 2e-4)
    read = {"params": found.params, "ema": found.ema_params, "mu": found.adam.mu, "nu": found.adam.nu}
    for part, flat in read.items():
        assert flat.keys() == parts[part].keys()
        for name, value in flat.items():
            np.testing.assert_array_equal(value, parts[part][name], err_msg=f"{part} {name}")


def test_a_pytorch_file_without_optimizer_state_has_none(tmp_path):
    shapes, order, _, contents = checkpoint("ddpm", adam=False)
    torch_files.save(tmp_path / "a.pth", contents)
    assert load(tmp_path / "a.pth", shapes, order).adam is None


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_storages_of_every_type_strides_and_scalars_are_read(protocol, tmp_path):
    numbers = np.arange(12)
    contents = {
        **{code: Tensor(numbers.astype(code)) for code in ("f2", "f4", "f8", "i8")},
        "half": Tensor(np.array([0x3F80, 0xC000, 0x4049], np.uint16)),  # 1, -2, 3.140625 as bfloat16
        "columns": Tensor(numbers.astype("f4"), 1, (3, 2), (4, 2)),
        "empty": Tensor(np.zeros((0, 3), np.float32)),
        "scalar": np.float64(0.25), "tuple": (1, None, True, "x"), "big": 2**40,
    }  # fmt: skip
    torch_files.save(tmp_path / "a.pth", contents, protocol=protocol)
    found = torch_pickle.read(tmp_path / "a.pth")
    for code in ("f2", "f4", "f8", "i8"):
        np.testing.assert_array_equal(found[code], numbers)
    np.testing.assert_array_equal(found["half"], [1, -2, 3.140625])
    np.testing.assert_array_equal(found["columns"], [[1, 3], [5, 7], [9, 11]])
    assert found["empty"].shape == (0, 3) and found["scalar"] == 0.25 and found["big"] == 2**40
    assert found["tuple"] == (1, None, True, "x")
    assert not found["columns"].flags.writeable


def test_a_file_of_the_other_byte_order_is_read(tmp_path):
    torch_files.save(tmp_path / "a.pth", {"x": Tensor(np.array([1.5, 2], ">f4"))}, byteorder="big")
    np.testing.assert_array_equal(torch_pickle.read(tmp_path / "a.pth")["x"], [1.5, 2])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_exported_parameters_come_back_exactly_under_stable_names(suffix, tmp_path):
    shapes, order, parts, _ = checkpoint("ddpm")
    path = tmp_path / "new" / f"ema{suffix}"
    export.write(path, base.nest(parts["ema"]))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    found = load(path, shapes, order)
    assert (found.step, found.adam) == (0, None) and "Conv_0/kernel" in found.params
    for flat in (found.params, found.ema_params):
        assert flat.keys() == parts["ema"].keys()
        for name, value in flat.items():
            np.testing.assert_array_equal(value, parts["ema"][name])
    with pytest.raises(FileExistsError):
        export.write(path, base.nest(parts["ema"]))
