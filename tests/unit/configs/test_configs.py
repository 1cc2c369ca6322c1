"""Configs: locked, complete, and equal to the published settings."""

import fnmatch
import functools
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import pytest

from builders import categorical, resgen
from builders.autoregressive import make_experts
from builders.network import make_network
from builders.optimizer import make_optimizer
from builders.process import make_sde
from builders.sampler import make_sampler
from builders.score import make_predict_of
from configs import default
from tests.support.configs import EXPERIMENTS, PATHS, PUBLISHED, load
from tests.support.paths import GOLDEN, ROOT

COUNTS = json.loads((GOLDEN / "parameter_counts.json").read_text())
# docs/configs.md lists the experiments, docs/deviations.md what differs from the published settings.
DOCS = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("docs/configs.md", "docs/deviations.md"))
GONE, UNSET = "gone", "not set"


class Difference(NamedTuple):
    """A key whose published value differs from ours, in the experiments that `where` matches."""

    where: str
    key: str
    published: Any
    ours: Any
    reason: str

    def applies_to(self, path):
        return fnmatch.fnmatch(path, self.where)

    def markdown(self):
        published, ours = (v if v in (GONE, UNSET) else f"`{v!r}`" for v in (self.published, self.ours))
        return f"| `{self.where}` | `{self.key}` | {published} | {ours} | {self.reason} |"


LARGEST = "configs/ve/*hq_ncsnpp_continuous.py"  # CelebA-HQ and FFHQ at 1024 pixels
BEDROOM = "configs/ve/ncsnv2/bedroom.py"
NEEDED = "the published program does not run without it; here the default"
DIFFERENCES = (
    Difference("configs/*", "model.attention_type", "ddpm", GONE, "unused: there is only one kind of attention"),
    Difference("configs/*", "model.conv_size", 3, GONE, "unused: convolutions are 3x3"),
    Difference("configs/*", "optim.amsgrad", False, GONE, "unused: there is only one Adam"),
    Difference(
        "configs/ve/ncsn*/*", "model.interpolation", "bilinear", GONE, "unused: there is only one interpolation"
    ),
    Difference("configs/ve/celeba_ncsnpp.py", "model.sigma_begin", 90, GONE, "unused: sigma_max replaces it"),
    Difference("configs/ve/ncsn/celeba.py", "training.loss", "vesde", GONE, "an old name of training.sde"),
    Difference("configs/ve/ncsn/celeba.py", "training.sde", UNSET, "vesde", "the program needs it"),
    Difference(BEDROOM, "training.continuouse", False, GONE, "misspelled"),
    Difference(BEDROOM, "training.continuous", True, False, "the intent of the misspelled key: discrete noise levels"),
    Difference(LARGEST, "training.n_jitted_steps", UNSET, 1, NEEDED),
    Difference(LARGEST, "eval.enable_loss", UNSET, True, NEEDED),
    Difference(LARGEST, "eval.enable_bpd", UNSET, False, NEEDED),
    Difference(LARGEST, "eval.enable_sampling", UNSET, False, NEEDED),
    Difference(LARGEST, "eval.bpd_dataset", UNSET, "test", NEEDED),
)
DERIVED = (  # not a key here: the builder uses the number of levels
    "| `configs/ve/ncsn/*` | `model.num_classes` | not set | `model.num_scales` "
    "| the published network does not run without it: one class for each noise level |"
)


def test_all_published_experiments_are_there():
    assert sorted(EXPERIMENTS) == PUBLISHED and len(PUBLISHED) == 39


@pytest.mark.parametrize("path", PUBLISHED)
def test_settings_equal_the_published_ones_up_to_the_table(path):
    ours, theirs = (dict(default.flatten(c)) for c in (default.to_json(load(path)), EXPERIMENTS[path]))
    defaults = dict(default.flatten(default.to_json(default.get_config())))
    explained = {row.key: row for row in DIFFERENCES if row.applies_to(path)}
    for key in ours.keys() | theirs.keys():
        row = explained.get(key)
        if row and theirs.get(key, UNSET) == row.published:
            assert ours.get(key, GONE) == row.ours, key
        elif key in theirs:
            assert ours[key] == theirs[key], key
        else:
            assert ours[key] == defaults[key], f"{key}: not published, but not the default either"


def test_every_row_of_the_table_is_needed_and_everything_that_the_published_program_needs_is_set():
    theirs = {path: dict(default.flatten(settings)) for path, settings in EXPERIMENTS.items()}
    for row in DIFFERENCES:
        assert any(t.get(row.key, UNSET) == row.published for path, t in theirs.items() if row.applies_to(path)), row
    ours = dict(default.flatten(default.get_config()))
    # A network reads the keys of its own, and only LSUN has categories; the rest is common.
    common = {key for t in theirs.values() for key in t if key in ours and not key.startswith("model.")}
    for path, settings in theirs.items():
        for key in common - settings.keys() - {"data.category"}:
            assert any(row.key == key and row.published == UNSET and row.applies_to(path) for row in DIFFERENCES), key


@pytest.mark.parametrize("path", [path for path in PUBLISHED if "/ncsn/" in path])
def test_ncsn_has_a_class_for_each_noise_level(path):
    config = load(path)
    assert make_network(config).num_classes == config.model.num_scales


def document_row(path):
    """The row of docs/configs.md that describes a config, from its settings and its docstring."""
    config, text = load(path), (ROOT / path).read_text(encoding="utf-8").split('"""')[1]
    kind = config.training.sde.removesuffix("sde") + ("" if config.training.continuous else ", discrete")
    kind = config.model.corruption if config.system == "categorical" else kind
    network = config.model.name
    if config.system == "tokenizer":
        kind, network = config.tokenizer.quantizer, f"{config.tokenizer.encoder}, {config.tokenizer.decoder}"
    if config.system == "resgen":
        kind, network = "depth mask", config.resgen.head
    if config.system == "autoregressive":
        kind = "none"
    size = "x".join(map(str, config.data.shape or (config.data.image_size,)))
    data = " ".join(filter(None, (config.data.dataset or "own data", config.data.category, size)))
    command, result = text.strip().split("\n\n")[1:3]
    number = " ".join(result.split()).removeprefix("Published: ") if "Published: " in result else "none"
    return f"| `{path}` | {kind} | {network} | {data} | {number} | `{command.strip()}` |"


@pytest.mark.parametrize("path", PATHS)
def test_the_documentation_lists_the_config(path):
    given = "series:FILE.csv" if load(path).data.horizon else "scans:PATH" if "medical" in path else "folder:PATH"
    row, data = document_row(path), "" if load(path).data.dataset else f" --config.data.dataset={given}"
    assert f"`python main.py --config={path} --workdir=DIR --mode=train{data}`" in row
    assert row in DOCS.splitlines()


def test_the_documentation_lists_nothing_else():
    rows = [line for line in DOCS.splitlines() if line.startswith("| `configs/")]
    assert len(rows) == len(set(rows))
    expected = [*map(document_row, PATHS), *(row.markdown() for row in DIFFERENCES), DERIVED]
    assert set(rows) == set(expected)


@pytest.mark.parametrize("path", PATHS)
def test_every_config_is_locked_and_valid_and_builds(path):
    config = load(path)
    default.validate(config)
    with pytest.raises(AttributeError, match="batch_size"):
        config.training.batch_sise = 3
    make_optimizer(config)
    if config.system == "mmar":  # its network depends on the texts of the data; tests/programs/test_mmar.py
        make_sde(config), make_sampler(config)
        return
    if config.system == "resgen":  # its network depends on the tokenizer; tests/programs/test_resgen.py
        resgen.check_sampling(config)
        return
    if config.system == "autoregressive":  # its network depends on the texts; tests/programs/test_autoregressive.py
        make_experts(config)
        return
    make_network(config)
    if config.system == "categorical":
        categorical.make_sampler(config), categorical.make_objective(config), categorical.bits_per_dim(config)
    else:
        make_sde(config), make_sampler(config), make_predict_of(config)


@functools.cache
def size_of(network, shape):
    """(parameters, tensors) of a network for images of `shape` [H, W, C], without computing any."""
    x, time = jax.ShapeDtypeStruct((1, *shape), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.float32)
    leaves = jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0), x, time)["params"])
    return {"parameters": sum(leaf.size for leaf in leaves), "tensors": len(leaves)}


@pytest.mark.parametrize("path", PUBLISHED)
def test_networks_have_the_published_number_of_parameters(path):
    config = load(path)
    network = make_network(config)
    same = {"sigmas": network.sigmas and (1.0,), "centered": True}  # equal in size, so that few are traced
    if hasattr(network, "dropout"):
        same["dropout"] = 0.0
    size = config.data.image_size
    assert size_of(network.copy(**same), (size, size, config.data.num_channels)) == COUNTS[path]


def test_every_key_is_read_somewhere():
    """A key that no program reads would be a setting that does nothing."""
    rooms = ("builders", "systems", "programs", "runtime", "training")
    sources = [ROOT / "run_lib.py", *(path for room in rooms for path in (ROOT / room).rglob("*.py"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    networks = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "models").rglob("*.py"))
    for key, _ in default.flatten(default.get_config()):
        section, name = key.split(".") if "." in key else ("", key)
        read = f".{name}" in text or f'"{name}"' in text
        assert read or (section == "model" and f"self.{name}" in networks), key


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.sde", "vpsd", "config.training.sde = 'vpsd' is not known; choose one of .*nearest: vpsde"),
        ("model.name", "ncsnp", "config.model.name = 'ncsnp' .*nearest: ncsnpp"),
        ("model.resblock_type", "bigan", "config.model.resblock_type = 'bigan' .*nearest: biggan"),
        ("sampling.method", "pd", "config.sampling.method = 'pd' .*nearest: pc"),
        ("sampling.predictor", "euler", "config.sampling.predictor = 'euler' .*nearest: euler_maruyama"),
        ("sampling.corrector", "langvin", "config.sampling.corrector = 'langvin' .*nearest: langevin"),
        ("sampling.predictor", "ddin", "config.sampling.predictor = 'ddin' .*nearest: ddim"),
        ("sampling.grid", "log_snt", "config.sampling.grid = 'log_snt' .*nearest: log_snr"),
        ("sampling.eta", 1.5, r"config.sampling.eta = 1.5, but it must be in \[0, 1\]"),
        ("sampling.eta", 0.5, "is a setting of predictor 'ddim', not of 'euler_maruyama'"),
        ("sampling.churn", -1.0, "config.sampling.churn = -1.0, but it must not be negative"),
        ("sampling.churn", 1.0, "is a setting of predictor 'heun', not of 'euler_maruyama'"),
        ("sampling.guidance_min_sigma", -1.0, "guidance_min_sigma = -1.0, but it must not be negative"),
        ("restore.noise_std", -1.0, "config.restore.noise_std = -1.0, but it must not be negative"),
        ("model.label_dropout", 2.0, r"config.model.label_dropout = 2.0, but it must be in \[0, 1\]"),
        ("optim.optimizer", "Adm", "config.optim.optimizer = 'Adm' .*nearest: Adam"),
        ("optim.lr", -1.0, "config.optim.lr = -1.0, but it must be positive"),
        ("model.dropout", 1.0, r"config.model.dropout = 1.0, but it must be in \[0, 1\)"),
        ("model.dtype", "bfloat8", "config.model.dtype = 'bfloat8' .*nearest: bfloat16"),
        ("sampling.dtype", "float16", "config.sampling.dtype = 'float16' .*choose one of bfloat16, float32"),
        ("eval.bpd_dtype", "float64", "config.eval.bpd_dtype = 'float64' .*choose one of bfloat16, float32"),
        ("training.fsdp", 0, "config.training.fsdp = 0, but it must be positive"),
        ("training.grad_accumulation", 3, "grad_accumulation = 3 does not divide config.training.batch_size = 128"),
        ("model.sigma_max", 0.001, "sigma_min must be the smaller"),
        (
            "training.snapshot_freq",
            7,
            "config.training.snapshot_freq = 7 is not a multiple of config.training.log_freq",
        ),
        ("data.image_size", 9, "config.data.image_size = 9 cannot be halved 1 times"),
        ("model.name", "ddpmm", "config.model.name = 'ddpmm' .*nearest: ddpm"),
        ("model.name", "ncsnv2_64", "config.model.normalization = 'GroupNorm' .*choose one of InstanceNorm"),
        ("model.name", "ncsn", "its own normalizations .*use config.training.continuous = False"),
        ("model.nonlinearity", "swich", "config.model.nonlinearity = 'swich' .*nearest: swish"),
        ("model.scale_by_sigma", True, "config.model.scale_by_sigma = True .* 'ncsnpp' does not receive"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_key_value_and_choices(key, value, message):
    config = load("configs/vp/digits_ddpmpp_continuous.py")
    section, name = key.split(".")
    config[section][name] = value
    with pytest.raises(ValueError, match=message) as error:
        default.validate(config)
        make_sde(config), make_network(config), make_sampler(config), make_optimizer(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("parameterization", ["edm", "noise"])
def test_only_a_score_is_divided_by_the_noise_level(parameterization):
    config = load("configs/ve/cifar10_ncsnpp_continuous.py")
    config.model.parameterization = parameterization
    with pytest.raises(ValueError, match=f"parameterization = '{parameterization}'; set scale_by_sigma to False"):
        make_network(config)


def test_a_key_that_does_not_exist_is_refused_with_the_nearest():
    config = load("configs/vp/smoke.py")
    with config.unlocked():
        config.training.continuouse = False
    with pytest.raises(ValueError, match="nearest is config.training.continuous"):
        default.validate(config)


def test_a_missing_section_is_refused():
    with pytest.raises(ValueError, match="is missing"):
        default.validate(ml_collections.ConfigDict({"seed": 1}))


def test_differences_name_keys_and_both_values():
    old, new = default.to_json(load("configs/vp/smoke.py")), default.to_json(load("configs/vp/smoke.py"))
    new["optim"]["lr"], new["model"]["nf"] = 0.5, 4
    assert default.differences(old, new) == {"model.nf": (8, 4), "optim.lr": (0.002, 0.5)}
    assert default.is_fixed("model.nf") and not default.is_fixed("optim.lr")
    assert not default.is_fixed("model.dtype") and not default.is_fixed("model.remat")  # the same model


@pytest.mark.parametrize("path", ["configs/vp/smoke.py", "configs/ve/celebahq_ncsnpp_continuous.py"])
def test_a_config_comes_back_from_json(path):
    config = load(path)
    back = default.from_json(default.to_json(config))
    assert dict(default.flatten(back)) == dict(default.flatten(config))


@pytest.mark.parametrize(("section", "name", "value"), [("data", "dataset", [[]]), ("model", "nf", "many")])
def test_a_stored_value_of_another_type_is_one_sentence(section, name, value):
    stored = default.to_json(load("configs/vp/smoke.py"))
    stored[section][name] = value
    with pytest.raises(
        ValueError, match=rf"^the stored config has config.{section}.{name} = .*, which is of another type"
    ):
        default.from_json(stored)


def test_a_key_of_another_version_is_refused_when_it_comes_back():
    stored = default.to_json(load("configs/vp/smoke.py"))
    del stored["restore"]  # of before there was one: the default
    assert default.from_json(stored).restore.method == "pigdm"
    stored["model"]["nff"] = 3
    with pytest.raises(ValueError, match="config.model.nff is not a setting; the nearest is config.model.nf"):
        default.from_json(stored)
