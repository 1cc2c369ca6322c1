"""Configs: locked, complete, and equal to the published settings."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import ml_collections
import pytest

import build
from configs import default
from tests.conftest import GOLDEN, ROOT

EXPERIMENTS = json.loads((GOLDEN / "experiments.json").read_text())
COUNTS = json.loads((GOLDEN / "parameter_counts.json").read_text())
PATHS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.py")
    if len(path.relative_to(ROOT).parts) > 2 and path.name != "__init__.py"
)
PUBLISHED = [path for path in PATHS if path in EXPERIMENTS]
# Published keys that select nothing: there is one attention, one size of convolution, one Adam.
DROPPED = {"model.attention_type": "ddpm", "model.conv_size": 3, "optim.amsgrad": False}


def load(path):
    spec = importlib.util.spec_from_file_location("experiment_config", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def test_the_continuous_cifar10_experiments_of_ddpmpp_and_ncsnpp_are_there():
    for sde, nets in {"vp": ("ddpmpp", "ncsnpp"), "subvp": ("ddpmpp", "ncsnpp"), "ve": ("ncsnpp",)}.items():
        for net in nets:
            assert f"configs/{sde}/cifar10_{net}_continuous.py" in PUBLISHED
            assert f"configs/{sde}/cifar10_{net}_deep_continuous.py" in PUBLISHED


@pytest.mark.parametrize("path", PUBLISHED)
def test_settings_equal_the_published_ones(path):
    ours = dict(default.flatten(default.to_json(load(path))))
    theirs = dict(default.flatten(EXPERIMENTS[path]))
    for key, value in theirs.items():
        if key in DROPPED:
            assert value == DROPPED[key]
        else:
            assert ours[key] == value, key


@pytest.mark.parametrize("path", PATHS)
def test_every_config_is_locked_and_valid_and_builds(path):
    config = load(path)
    default.validate(config)
    with pytest.raises(AttributeError, match="batch_size"):
        config.training.batch_sise = 3
    build.sde(config), build.network(config), build.sampler(config), build.optimizer(config), build.score_of(config)


@pytest.mark.parametrize("path", PUBLISHED)
def test_networks_have_the_published_number_of_parameters(path):
    config = load(path)
    size = config.data.image_size
    x = jax.ShapeDtypeStruct((1, size, size, config.data.num_channels), jnp.float32)
    time = jax.ShapeDtypeStruct((1,), jnp.float32)
    shapes = jax.eval_shape(build.network(config).init, jax.random.key(0), x, time)["params"]
    leaves = jax.tree.leaves(shapes)
    assert sum(leaf.size for leaf in leaves) == COUNTS[path]["parameters"]
    assert len(leaves) == COUNTS[path]["tensors"]


def test_every_key_is_read_somewhere():
    """A key that no program reads would be a setting that does nothing."""
    sources = [ROOT / name for name in ("build.py", "experiment.py", "run_lib.py")]
    text = "\n".join(path.read_text() for path in sources)
    networks = "\n".join(path.read_text() for path in (ROOT / "models").glob("*.py"))
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
        ("optim.optimizer", "Adm", "config.optim.optimizer = 'Adm' .*nearest: Adam"),
        ("optim.lr", -1.0, "config.optim.lr = -1.0, but it must be positive"),
        ("model.dropout", 1.0, r"config.model.dropout = 1.0, but it must be in \[0, 1\)"),
        ("model.sigma_max", 0.001, "sigma_min must be the smaller"),
        (
            "training.snapshot_freq",
            7,
            "config.training.snapshot_freq = 7 is not a multiple of config.training.log_freq",
        ),
        ("data.image_size", 9, "config.data.image_size = 9 cannot be halved 1 times"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_key_value_and_choices(key, value, message):
    config = load("configs/vp/smoke.py")
    section, name = key.split(".")
    config[section][name] = value
    with pytest.raises(ValueError, match=message) as error:
        default.validate(config)
        build.sde(config), build.network(config), build.sampler(config), build.optimizer(config)
    assert "\n" not in str(error.value)


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
    assert default.differences(old, new) == {"model.nf": (8, 4), "optim.lr": (0.001, 0.5)}
    assert default.is_fixed("model.nf") and not default.is_fixed("optim.lr")
