"""Values on a command line: None unsets what is optional, and entries of tuples are checked as numbers are."""

import pytest

from configs import default
from sweeps.overrides import vary
from sweeps.plan import configured, plan
from tests.support.configs import PATHS

CONFIG = "--config=configs/vp/smoke.py"
OPTIONAL = [key for key, declared in default.KEYS.items() if isinstance(declared.default, type)]
OTHER = {int: 7, float: 0.5, str: "other"}
# ml_collections reads a config file in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.mark.parametrize("key", OPTIONAL)
def test_every_optional_setting_can_be_unset_again(key):
    value = {
        "sampling.ancestral_variance": "posterior",
        "sampling.dtype": "bfloat16",
        "data.resize": "crop",
        "training.noise_schedule": "fixed",
        "training.grad_dtype": "float32",
    }.get(key, OTHER[default.KEYS[key].default])
    given = f"--config.{key}={value}"
    assert dict(default.flatten(configured([CONFIG, given])))[key] == value
    assert dict(default.flatten(configured([CONFIG, given, f"--config.{key}=None"])))[key] is None


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("seed", "config.seed = None, but it cannot be unset; its default is 42."),
        ("optim.lr", "config.optim.lr = None, but it cannot be unset; its default is 0.0002."),
        ("sampling.corrector", "config.sampling.corrector = None, but it cannot be unset; its default is 'none'."),
        ("data.centered", "config.data.centered = None, but it cannot be unset; its default is True."),
        ("model.ch_mult", "config.model.ch_mult has None, but a multiple must be a positive integer."),
    ],
)
def test_what_is_not_optional_cannot_be_unset(key, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        configured([CONFIG, f"--config.{key}=None"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("model.ch_mult=(1, 'a')", "config.model.ch_mult has a, but a multiple must be a positive integer"),
        ("model.ch_mult=(1, 0)", "config.model.ch_mult has 0, but a multiple must"),
        ("model.ch_mult=(1, 1.5)", "config.model.ch_mult has 1.5, but a multiple must"),
        ("model.ch_mult=()", "config.model.ch_mult is empty, but it must have at least one entry"),
        ("model.fir_kernel=(1, 1e999)", "config.model.fir_kernel has inf, but a weight must be a finite number"),
        ("model.attn_resolutions=(16, -1)", "config.model.attn_resolutions has -1, but an entry must be a positive"),
        ("model.ema_rates=('a',)", r"config.model.ema_rates has a, but a rate must be in \[0, 1\)"),
        ("model.ema_rates=(None,)", "config.model.ema_rates has None, but a rate"),
        ("model.conditions=(3,)", "config.model.conditions has 3, but a condition must be of the form"),
        ("model.stages=(True,)", "config.model.stages has True, but a stage must be"),
        ("data.shape=(8, True)", "config.data.shape has True, but an entry must be a positive integer"),
        ("data.shape=(8, (8, 1))", r"config.data.shape has \(8, 1\), but an entry must"),
        ("eval.metrics=", "config.eval.metrics has '', but an entry must be a name"),
        ("eval.tasks=('loss', 3)", "config.eval.tasks has 3, but an entry must be a name"),
        ("optim.frozen=('',)", "config.optim.frozen has '', but an entry must be a name"),
        ("model.sigma_data=nan", "config.model.sigma_data = nan, but it must be a number"),
        ("optim.grad_clip=nan", "config.optim.grad_clip = nan, but it must be a number"),
        ("optim.lr=nan", "config.optim.lr = nan, but it must be"),
    ],
)
def test_entries_of_tuples_and_numbers_are_checked(given, message):
    with pytest.raises(ValueError, match=message) as error:
        configured([CONFIG, f"--config.{given}"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", PATHS)
def test_the_tuples_of_every_config_are_valid(path):
    configured([f"--config={path}"])


def test_a_sweep_can_vary_between_unset_and_set(tmp_path):
    runs = plan(CONFIG.removeprefix("--config="), [], vary("sampling.num_steps", [None, 5]), tmp_path)
    assert [run.config["sampling.num_steps"] for run in runs] == [None, 5]


def test_data_given_by_a_path_alone_determine_settings_as_those_with_a_form():
    for dataset in ("folder:/some/folder", "/some/folder", "some/images.npz"):
        assert default.is_resolved("data.shape", dataset)
    assert not default.is_resolved("data.shape", "digits") and not default.is_resolved("seed", "/some/folder")
