"""What published checkpoints hold, in both formats: the published numbers, the names for every kind of network."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.score import make_network, make_score_of
from configs import default
from interop import base, export
from interop.formats import torch_pickle
from interop.load import load
from interop.names import torch_names
from interop.names.order import outline
from models.networks.ddpm import DDPM
from models.networks.ncsnpp import NCSNpp
from tests.support import torch_files
from tests.support.paths import GOLDEN
from tests.support.torch_files import Tensor

CHECKPOINTS = GOLDEN / "checkpoints"
FILES = {
    "jax_ncsnpp_ve_cont": "checkpoint_5",
    "jax_ddpmpp_vp_cont": "checkpoint_12",
    "torch_ncsnpp_ve_cont": "checkpoint_5.pth",
    "torch_ddpmpp_vp_cont": "checkpoint_12.pth",
}


def config_of(name):
    """The config of a golden checkpoint."""
    published = json.loads((GOLDEN / "index.json").read_text())["files"][f"checkpoints/{name}_expected.npz"]["config"]
    config = default.get_config()
    for section in ("training", "data", "model", "optim"):
        known = {key: value for key, value in published[section].items() if key in config[section]}
        config[section].update({key: tuple(v) if isinstance(v, list) else v for key, v in known.items()})
    return config


def outline_of(network, size=16, channels=3):
    return outline(network, np.zeros((1, size, size, channels), np.float32), np.ones((1,), np.float32))


@pytest.fixture(scope="module", params=FILES)
def imported(request):
    """(name, its config, what its file holds)."""
    config = config_of(request.param)
    shapes, order = outline_of(make_network(config))
    return request.param, config, load(CHECKPOINTS / request.param / FILES[request.param], shapes, order)


def norm(flat):
    return np.sqrt(sum(np.sum(value.astype(np.float64) ** 2) for value in flat.values()))


def test_scores_of_both_parameter_sets_are_the_published_ones(imported, golden):
    name, config, found = imported
    g = golden(f"checkpoints/{name}_expected")
    score = jax.jit(lambda params, x, t: make_score_of(config)(params, {}, None)(x, t))
    for key, params in (("score_params_ema", found.ema_params), ("score_params_raw", found.params)):
        g.check(key, score(base.nest(params), jnp.asarray(g["x"]), jnp.asarray(g["t"])))


def test_steps_moments_and_settings_are_those_of_the_file(imported, golden):
    name, _, found = imported
    g = golden(f"checkpoints/{name}_expected")
    assert found.step == g["step"] == found.adam.count  # in all four files Adam made every step
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


@pytest.mark.parametrize("name", ["ncsnpp_ve_cont", "ddpmpp_vp_cont"])
def test_pytorch_names_are_those_of_the_published_map(name):
    shapes, order = outline_of(make_network(config_of(f"jax_{name}")))
    expected = json.loads((CHECKPOINTS / "torch_name_map.json").read_text())[name]
    assert torch_names.torch_names(base.flatten(shapes), order) == expected


def published_modules(m):
    """The kinds of the modules of a published network, in their order; `m`: NCSNpp or DDPM."""
    plus = isinstance(m, NCSNpp)
    block = (
        {"biggan": "ResnetBlockBigGANpp", "ddpm": "ResnetBlockDDPMpp"}[m.resblock_type] if plus else "ResnetBlockDDPM"
    )
    attention = "AttnBlockpp" if plus else "AttnBlock"
    big = plus and m.resblock_type == "biggan"
    pyramid_in, pyramid_out = (m.progressive_input, m.progressive) if plus else ("none", "none")
    heights = [16 // 2**level for level in range(len(m.ch_mult))]
    kinds = ["GaussianFourierProjection"] if plus and m.embedding_type == "fourier" else []
    kinds += ["Dense", "Dense", "Conv"]
    for height in heights:
        kinds += m.num_res_blocks * ([block] + [attention] * (height in m.attn_resolutions))
        if height != heights[-1]:
            kinds += [block if big else "Downsample"]
            kinds += {"none": [], "input_skip": ["Downsample", "Combine"], "residual": ["Downsample"]}[pyramid_in]
    kinds += [block, attention, block]
    for height in reversed(heights):
        kinds += (m.num_res_blocks + 1) * [block] + [attention] * (height in m.attn_resolutions)
        to_image = ["GroupNorm", "Conv"]
        if height == heights[-1] and pyramid_out != "none":
            kinds += to_image
        elif pyramid_out != "none":
            kinds += ["Upsample"] + (to_image if pyramid_out == "output_skip" else [])
        if height != heights[0]:
            kinds += [block if big else "Upsample"]
    return kinds + ([] if pyramid_out == "output_skip" else ["GroupNorm", "Conv"])


COMMON = {"nf": 8, "ch_mult": (1, 2, 3), "num_res_blocks": 1, "attn_resolutions": (8,)}
NETWORKS = {
    f"{block}-{into}-{out}": NCSNpp(
        **COMMON, resblock_type=block, progressive_input=into, progressive=out, fir=block == "biggan",
        embedding_type="fourier" if out == "none" else "positional", scale_by_sigma=out == "none",
        progressive_combine="cat" if out == "none" else "sum",
    )
    for block in ("biggan", "ddpm")
    for into in ("none", "input_skip", "residual")
    for out in ("none", "output_skip", "residual")
}  # fmt: skip
NETWORKS["deeper"] = NCSNpp(**{**COMMON, "num_res_blocks": 3, "attn_resolutions": (16, 4)}, scale_by_sigma=False)
NETWORKS["ddpm"] = DDPM(**COMMON)
NETWORKS["ddpm-without-conv"] = DDPM(**COMMON, resamp_with_conv=False)


@pytest.mark.parametrize("kind", NETWORKS)
def test_our_networks_use_their_modules_in_the_published_order(kind):
    shapes, order = outline_of(NETWORKS[kind])
    assert [name.rpartition("_")[0] for name in order] == published_modules(NETWORKS[kind])
    seen = {}
    for name in order:  # numbered for each kind in the order of use
        module, _, number = name.rpartition("_")
        assert int(number) == seen.get(module, 0)
        seen[module] = int(number) + 1
    names = torch_names.torch_names(base.flatten(shapes), order)
    assert len(set(names.values())) == len(names)


def published_layout(name, value):
    """The inverse of `to_ours`, by the rule of the golden numbers' description."""
    leaf = name.rsplit("/", 1)[-1]
    if value.ndim == 4:
        return np.moveaxis(value, (3, 2, 0, 1), (0, 1, 2, 3))
    return value.T if leaf == "kernel" else value


def pytorch_contents(parts, order, *, steps, adam=True, prefix="module."):
    """What a .pth holds; `parts`: "params", "ema", "mu" and "nu" in our names."""
    theirs = torch_names.torch_names(parts["params"], order)
    names = sorted(theirs, key=lambda n: (int(theirs[n].split(".")[1]), theirs[n][::-1]))  # not our order
    trained = [n for n in names if not n.startswith("GaussianFourier")]

    def tensor(part, n):
        return Tensor(np.ascontiguousarray(published_layout(n, parts[part][n])))

    states = {
        k: {"step": Tensor(np.float32(steps)), "exp_avg": tensor("mu", n), "exp_avg_sq": tensor("nu", n)}
        for k, n in enumerate(names)
        if n in trained
    }
    group = {"lr": np.float64(2e-4), "betas": (0.9, 0.999), "eps": 1e-8, "params": list(range(len(names)))}
    buffer = {f"{prefix}sigmas": Tensor(np.linspace(1, 2, 10))}
    return {
        "optimizer": {"state": states if adam else {}, "param_groups": [group]},
        "model": buffer | {prefix + theirs[n]: tensor("params", n) for n in names},
        "ema": {"decay": 0.999, "num_updates": steps, "shadow_params": [tensor("ema", n) for n in trained]},
        "step": steps,
    }


def checkpoint(network, **options):
    """(shapes, order, parts in our names, contents of a .pth at step 7) of a network with random parameters."""
    shapes, order = outline_of(network)
    rng = np.random.default_rng(0)
    wanted = base.flatten(shapes).items()
    parts = {p: {n: rng.random(a.shape, np.float32) for n, a in wanted} for p in ("params", "ema", "mu", "nu")}
    for n in parts["params"]:
        if n.startswith("GaussianFourier"):
            parts["ema"][n], parts["mu"][n], parts["nu"][n] = parts["params"][n], *2 * [np.zeros_like(parts["mu"][n])]
    return shapes, order, parts, pytorch_contents(parts, order, steps=7, **options)


@pytest.mark.parametrize(
    "kind", ["biggan-input_skip-none", "biggan-input_skip-output_skip", "ddpm-residual-residual", "ddpm"]
)
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_pytorch_file_of_any_network_is_read_exactly(kind, prefix, tmp_path):
    shapes, order, parts, contents = checkpoint(NETWORKS[kind], prefix=prefix)
    torch_files.save(tmp_path / "a.pth", contents)
    found = load(tmp_path / "a.pth", shapes, order)
    assert (found.step, found.adam.count, found.settings["optim.lr"]) == (7, 7, 2e-4)
    read = {"params": found.params, "ema": found.ema_params, "mu": found.adam.mu, "nu": found.adam.nu}
    for part, flat in read.items():
        assert flat.keys() == parts[part].keys()
        for name, value in flat.items():
            np.testing.assert_array_equal(value, parts[part][name], err_msg=f"{part} {name}")


def test_a_pytorch_file_without_optimiser_state_has_none(tmp_path):
    shapes, order, _, contents = checkpoint(NETWORKS["ddpm"], adam=False)
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
    shapes, order, parts, _ = checkpoint(NETWORKS["ddpm"])
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
